"""Rows of the hub come placed and renamed as those of files do; what is not there is told at its key.

Folders stand in for the hub: `datasets.load_dataset` loads them by the same way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ptspec.data.readers.scan import items_of
from ptspec.diagnostics import InputError
from ptspec.recipe.sources import Source

README = """---
configs:
- config_name: one
  data_files: train.jsonl
- config_name: two
  data_files: test.jsonl
---
"""


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "test"):
        rows = [{"question": f"{split} {number}", "prompt": "old"} for number in range(50)]
        (tmp_path / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


def read(folder, **fields):
    return list(items_of(Source("train", (), hub=str(folder), at="/data/train", **fields)))


def told(folder, **fields) -> tuple[str, str | None, str, str | None]:
    with pytest.raises(InputError) as caught:
        read(folder, **fields)
    (found,) = caught.value.diagnostics
    return found.code, found.pointer, found.message, found.hint


def test_rows_have_their_number_in_the_split(folder):
    rows = read(folder, split="test[:10%]")
    assert [(row.line, row.values["question"]) for row in rows] == [(i + 1, f"test {i}") for i in range(5)]
    assert {row.file for row in rows} == {folder}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_renamed_onto_another_replaces_it(folder, streaming):
    (row,) = read(folder, columns={"prompt": "question"}, limit=1, streaming=streaming)
    assert row.values == {"prompt": "train 0"}
    (row,) = read(folder, columns={"a": "question", "b": "question"}, limit=1, streaming=streaming)
    assert row.values == {"prompt": "old", "a": "train 0", "b": "train 0"}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_missing_column_is_reported(folder, streaming):
    code, pointer, message, hint = told(folder, columns={"prompt": "qestion"}, streaming=streaming)
    assert (code, pointer, hint) == (
        "missing-column",
        "/data/train/columns/prompt",
        'did you mean "question"?',
    )
    assert 'no column "qestion"' in message


def test_the_draw_is_that_of_local_files(folder):
    fields = {"limit": 5, "shuffle": True, "seed": 3}
    local = items_of(Source("train", (folder / "train.jsonl",), **fields))
    assert [(row.line, row.values) for row in read(folder, **fields)] == [
        (row.line, row.values) for row in local
    ]


def test_a_streamed_source_is_shuffled_before_the_limit(folder):
    taken = {row.values["question"] for row in read(folder, limit=5, shuffle=True, streaming=True)}
    assert len(taken) == 5 and taken != {f"train {i}" for i in range(5)}
    assert [row.line for row in read(folder, limit=3, streaming=True)] == [1, 2, 3]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_split_is_reported(folder, streaming):
    code, pointer, _, hint = told(folder, split="tset", streaming=streaming)
    assert (code, pointer, hint) == ("unknown-split", "/data/train/split", 'did you mean "test"?')


def test_a_part_of_a_streamed_split_is_refused(folder):
    code, _, message, _ = told(folder, split="train[:5]", streaming=True)
    assert code == "unknown-split" and "whole splits" in message


def test_a_configuration_is_asked_for_where_there_are_several(folder):
    (folder / "README.md").write_text(README)
    assert read(folder, config_name="two", limit=1)[0].values["question"] == "test 0"
    code, pointer, _, hint = told(folder)
    assert (code, pointer, hint) == ("unknown-config", "/data/train/name", "configurations there: one, two")
    assert told(folder, config_name="tow")[3] == 'did you mean "two"?'


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_file_is_reported_with_its_cause(tmp_path, streaming):
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{"x":\n')
    code, pointer, message, _ = told(tmp_path, streaming=streaming)
    assert (code, pointer) == ("unreadable-dataset", "/data/train/path")
    assert "JSON parse error" in message


def test_a_hub_that_cannot_be_reached_is_reported():
    code, pointer, _, hint = told("no-organisation/no-dataset")
    assert (code, pointer) == ("hub-unreachable", "/data/train/path")
    assert "cache" in hint


class Hub(BaseHTTPRequestHandler):
    """A hub that has no dataset, and of "some/moved" not the revision."""

    def do_GET(self):
        code = "RevisionNotFound" if "moved" in self.path else "RepoNotFound"
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


ASK = """
import sys
from ptspec.data.readers.scan import items_of
from ptspec.diagnostics import InputError
from ptspec.recipe.sources import Source
for name in sys.argv[1:]:
    try:
        list(items_of(Source("train", (), hub=name, revision="v9", at="/data/train")))
    except InputError as error:
        print(*((one.code, one.pointer) for one in error.diagnostics))
"""


def test_a_dataset_that_the_hub_does_not_have_is_reported(tmp_path):
    with HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
        address = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, "some/gone", "some/moved"],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | address | {"HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        hub.shutdown()
    assert done.stdout.splitlines() == [
        "('no-such-dataset', '/data/train/path')",
        "('no-such-dataset', '/data/train/revision')",
    ], done.stderr
