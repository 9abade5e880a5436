"""JSON Schemas of the user's: references are resolved before anything starts, and nothing is fetched."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ptspec.rewards.builtin import builtin
from ptspec.rewards.json_schemas import fits, schema_fault, validator_of

TOWN = {"type": "string", "enum": ["Tarn"]}


@pytest.fixture
def server():
    """A server on this machine that has a schema, and the paths that it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps(TOWN).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/town.json", asked
    running.shutdown()
    running.server_close()


def test_a_schema_on_a_server_is_an_error_and_not_fetched(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    address, asked = server
    fault = schema_fault({"properties": {"town": {"$ref": address}}})
    assert fault.message == f'"{address}" is nowhere in the schema, and nothing is fetched'
    assert fault.steps == ("properties", "town", "$ref")
    with pytest.raises(Exception, match="Unresolvable"):
        fits(validator_of({"$ref": address}), '"Tarn"')
    assert asked == []


def test_a_schema_in_a_file_is_an_error_and_not_read(tmp_path):
    (tmp_path / "town.json").write_text(json.dumps(TOWN))
    address = (tmp_path / "town.json").as_uri()
    assert schema_fault({"$ref": address}).steps == ("$ref",)
    with pytest.raises(Exception, match="Unresolvable"):
        fits(validator_of({"$ref": address}), '"Tarn"')


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/no"},
        {"$ref": "#no"},
        {"$dynamicRef": "#no"},
        {"$ref": "other.json"},
        {"$ref": "http://[::1"},
        {"allOf": [{"$ref": "#/allOf/x"}]},
        {"maximum": 3, "$ref": "#/maximum/x"},
        {"if": {"not": {"items": {"$ref": "#/$defs/no"}}}},
        {"$ref": "#/hidden", "hidden": {"$ref": "#/no"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": {"$ref": "#/definitions/no"}},
        {"$id": "http://x.example/a.json", "$ref": "b.json"},
    ],
    ids=json.dumps,
)
def test_a_reference_that_leads_nowhere_is_an_error(schema):
    assert "nothing is fetched" in schema_fault(schema).message


@pytest.mark.parametrize(
    ("schema", "text", "score"),
    [
        ({"$defs": {"town": TOWN}, "$ref": "#/$defs/town"}, '"Tarn"', 1),
        ({"$defs": {"town": TOWN}, "$ref": "#/$defs/town"}, '"Rome"', 0),
        ({"$defs": {"a": {"$anchor": "here", **TOWN}}, "items": {"$ref": "#here"}}, '["Rome"]', 0),
        ({"$id": "http://x.example/a", "$defs": {"b": {"$id": "b", **TOWN}}, "$ref": "b"}, '"Tarn"', 1),
        ({"items": {"$ref": "#"}, "type": "array"}, "[[], [[]]]", 1),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, '{"type": "objekt"}', 0),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3}, "4", 1),
        ({"enum": [{"$ref": "#/no"}]}, '{"$ref": "#/no"}', 1),
    ],
    ids=str,
)
def test_references_within_the_schema_are_followed(schema, text, score):
    assert schema_fault(schema) is None
    assert builtin("json_schema", {"schema": schema})(prompts=["q"], completions=[text]) == [score]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity"])
def test_what_is_not_json_does_not_fit(text):
    assert not fits(validator_of({}), text)
