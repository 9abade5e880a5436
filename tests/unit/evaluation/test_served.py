"""What a generation server is asked for in evaluation and chat, and what is told where it fails: a plain HTTP
server on this machine. What vLLM itself answers is in tests/e2e/test_vllm_answers.py."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.json_server import json_server

from ptspec.commands.chat import chat
from ptspec.commands.evaluate import _must_go_together
from ptspec.commands.options import server_at
from ptspec.diagnostics import InputError, StageError
from ptspec.evaluation.comparison_store import comparison_of
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.served import Asked, Host, Served
from ptspec.generation_server.client import GenerationServer
from ptspec.generation_server.requests import ServerError
from ptspec.model.probes import Probes
from ptspec.recipe.plan import AdapterSpec
from ptspec.store.stage_folder import open_artifact

MODELS = {"data": [{"id": "base", "root": "/models/base", "parent": None, "max_model_len": 40}]}
LORA = AdapterSpec(True)


@contextmanager
def serving(reply=lambda path, body: None):
    """A server that answers by `reply` ((status, JSON), or None: as vLLM does); gives its client and what was
    asked."""
    with json_server(lambda path, body: reply(path, body) or as_vllm(path, body)) as (url, seen):
        yield GenerationServer(url, at="/compute/vllm", retries=0), seen


def as_vllm(path, body):
    """A model that says its prompt's last token again, and an end token, each with probability exp(−0.5)."""
    if path != "/v1/completions":
        return 200, {"/version": {"version": "0.32.0"}, "/v1/models": MODELS}.get(path)
    logprobs = {"token_logprobs": [-0.5, -0.5]}
    choice = {"token_ids": [body["prompt"][-1], 2], "logprobs": logprobs, "finish_reason": "stop"}
    return 200, {"choices": [choice]}


def error_of(kind, call):
    with pytest.raises(kind) as error:
        call()
    return error.value


def completions(seen):
    return {tuple(body["prompt"]): body for path, body, _ in seen if path == "/v1/completions"}


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "run/sft"
    folder.mkdir(parents=True)
    config = {"base_model_name_or_path": "/models/base", "r": 8, "init_lora_weights": True}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def asked(folder, **fields):
    return Asked("sft", open_artifact(folder) if folder else None, LORA, "/models/base", **fields)


def test_greedy_answers_have_no_seed_and_drawn_ones_that_of_their_row():
    with serving() as (server, seen):
        served = Served(server, "m", "vLLM", 40)
        told = []
        found = served.respond(
            [[1, 5], [1, 6], [1, 7], [1, 8]],
            9,
            frozenset({2, 3}),
            draws=[None, [0.25, 0.5], None, [0.75]],
            done=told.append,
        )
    assert [one.token_ids for one in found] == [(5, 2), (6, 2), (7, 2), (8, 2)]
    bodies = completions(seen)
    greedy, drawn = bodies[1, 5], bodies[1, 6]
    assert (greedy["temperature"], greedy.get("seed"), greedy["max_tokens"]) == (0.0, None, 9)
    assert (drawn["temperature"], drawn["seed"], drawn["top_k"], drawn["top_p"]) == (1.0, 2**51, 0, 1.0)
    assert drawn["repetition_penalty"] == 1.0
    assert bodies[1, 8]["seed"] == 3 * 2**51
    assert all(one["stop_token_ids"] == [2, 3] and one["ignore_eos"] for one in bodies.values())
    assert told == [2, 2]


def test_answers_without_room_are_told_before_any_is_asked_for():
    with serving() as (server, seen):
        served = Served(server, "m", "vLLM", 40)
        error = error_of(ServerError, lambda: served.respond([[1] * 30], 12, frozenset()))
    assert "takes 40 tokens" in error.diagnostics[0].message
    assert "--max-model-len 42" in error.diagnostics[0].hint
    assert completions(seen) == {}


def test_an_adapter_is_served_under_a_name_of_its_own_and_taken_back(adapter):
    with serving() as (server, seen):
        names = []
        for _ in range(2):
            with Host(server).serving(asked(adapter)) as served:
                names.append(served.name)
                assert (served.program, served.max_length) == ("vLLM 0.32.0", 40)
    loads = [body for path, body, _ in seen if path == "/v1/load_lora_adapter"]
    assert [body["lora_name"] for body in loads] == names
    assert {body["lora_path"] for body in loads} == {str(adapter)}
    assert len(set(names)) == 2
    unloads = [body["lora_name"] for path, body, _ in seen if path == "/v1/unload_lora_adapter"]
    assert unloads == names


def test_an_adapter_is_put_where_the_server_sees_it_and_removed(adapter, tmp_path):
    with serving() as (server, seen):
        with Host(server, tmp_path / "shared").serving(asked(adapter)):
            (place,) = (tmp_path / "shared").iterdir()
            assert {file.name for file in place.iterdir()} == {
                "adapter_config.json",
                "adapter_model.safetensors",
            }
        (body,) = [body for path, body, _ in seen if path == "/v1/load_lora_adapter"]
    assert body["lora_path"] == str(place)
    assert not place.exists()


def test_the_base_needs_no_adapter():
    with serving() as (server, seen), Host(server).serving(asked(None)) as served:
        assert served.name == "base"
    assert not any("lora" in path for path, _, _ in seen)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, None),
        ({"modules_to_save": ["lm_head"]}, '"modules_to_save"'),
        ({"use_dora": True}, '"use_dora"'),
        ({"init_lora_weights": "pissa"}, '"init_lora_weights"'),
        ({"base_model_name_or_path": "someone/other"}, "trained over the weights in someone/other"),
    ],
)
def test_what_cannot_be_served_is_known_from_the_folder(adapter, config, why):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with serving() as (server, _):
        found, told = Host(server).why_not(asked(adapter)), []
        with Host(server).answering(asked(adapter), told.append) as served:
            assert (served is None) == (why is not None)
    assert found is None if why is None else why in found
    assert len(told) == (why is not None)
    if why is not None:
        assert told[0].startswith("sft: answers are generated here, not by the server at http")


def test_quantised_bases_are_answered_here():
    with serving() as (server, _):
        assert "4 or 8 bits" in Host(server).why_not(replace(asked(None), adapter=AdapterSpec(True, True)))


def test_another_policy_is_told_with_what_to_serve():
    with serving() as (server, seen):
        served = Served(server, "m", "vLLM", 40, "/models/base")
        served.check_left(Probes(((1, 5, 6),), ((-0.5, -9.0),)))  # one token of eight is asked for
        other = Probes(((1, 5, 6),), ((-0.7, -0.5),))
        (told,) = error_of(StageError, lambda: served.check_left(other)).diagnostics
    assert completions(seen)[1,]["allowed_token_ids"] == [5]
    assert (told.code, told.pointer) == ("another-policy", "/compute/vllm")
    assert "vllm serve /models/base" in told.hint
    assert told.notes == ("it serves /models/base",)


def test_a_server_that_says_0_of_forced_tokens_is_not_compared():
    def processed(path, body):
        if path != "/v1/completions":
            return None
        choice = {"token_ids": [5], "logprobs": {"token_logprobs": [0.0]}, "finish_reason": "length"}
        return 200, {"choices": [choice]}

    with serving(processed) as (server, _):
        Served(server, "m", "vLLM", 40).check_left(Probes(((1, 5, 6),), ((-3.0, -3.0),)))


def test_a_server_that_dies_is_not_asked_to_forget(adapter):
    with serving() as (server, seen):
        host = Host(server).serving(asked(adapter))
        served = host.__enter__()
        count = len(seen)
    error = error_of(ServerError, lambda: served.respond([[1]], 3, frozenset()))
    assert not host.__exit__(ServerError, error, None)
    assert len(seen) == count
    assert "cannot be reached" in error.diagnostics[0].message


def test_a_comparison_says_that_answers_are_of_different_programs():
    def measurement(name, program):
        rows = tuple(RowMeasurement(str(i), f"q{i}", nll=1.0 + i, tokens=3) for i in range(6))
        settings = Settings(1, 8, None, True, generated_by=program)
        return Measurement(name, rows, {}, settings)

    here, there = measurement("a", None), measurement("b", "vLLM 0.32.0")
    notes = comparison_of(here, there).notes
    assert any("different programs (transformers, here, vLLM 0.32.0)" in note for note in notes)
    assert not any("programs" in note for note in comparison_of(there, there).notes)


def test_an_address_where_nothing_answers_is_told_before_anything_is_loaded(tmp_path):
    with serving() as (server, _):
        url = server.base_url
    told = error_of(InputError, lambda: server_at(url)).diagnostics[0]
    assert "cannot be reached" in told.message
    (tmp_path / "config.json").write_text("{}")
    error = error_of(InputError, lambda: chat([str(tmp_path)], False, 16, 0.0, 1, url, False))
    assert "cannot be reached" in error.diagnostics[0].message
    error = error_of(InputError, lambda: _must_go_together(False, None, None, None, None, url))
    assert "--server requires --data" in error.diagnostics[0].message


def test_a_key_that_is_wanted_is_told(monkeypatch):
    def reply(path, body):
        return (401, {"error": "Unauthorized"}) if path.startswith("/v1") else None

    with serving(reply) as (server, _):
        told = error_of(InputError, lambda: server_at(server.base_url)).diagnostics[0]
    assert "VLLM_API_KEY" in told.hint


def test_one_token_that_is_computed_otherwise_is_told():
    with serving() as (server, _):
        served = Served(server, "m", "vLLM", 40, bound=0.01)
        served._must_agree(0.001, 0.009)
        (told,) = error_of(StageError, lambda: served._must_agree(0.001, 0.6)).diagnostics
    assert "a token differs by 0.6 nats" in told.message
