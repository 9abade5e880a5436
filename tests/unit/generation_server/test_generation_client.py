"""The client of a generation server where the server misbehaves: a real HTTP server on this machine.

What vLLM itself answers is in tests/e2e/test_vllm_client.py."""

import math
import socket
import time

import pytest
from support.json_server import json_server

from ptspec.diagnostics import InputError
from ptspec.generation_server.client import GenerationServer, Sampling
from ptspec.generation_server.requests import ServerError

KEY = "sk-very-secret-0123456789"


def choice(token_ids, logps, reason="length"):
    logprobs = {"token_logprobs": logps}
    return {"choices": [{"token_ids": token_ids, "logprobs": logprobs, "finish_reason": reason}]}


def client(url, **options):
    return GenerationServer(url, at="/compute/vllm/server_base_url", **options)


def test_each_row_is_asked_with_its_own_seed_and_answered_in_its_place():
    def reply(path, body):
        time.sleep(0.05 * (4 - body["seed"]))
        return 200, choice([body["seed"], 9], [-0.5, None], "stop")

    with json_server(reply) as (url, seen):
        found = client(f"{url}/v1/").complete([[1], [2], [3]], "m", Sampling(7, top_k=5), [1, 2, 3])
    assert [one.token_ids for one in found] == [(1, 9), (2, 9), (3, 9)]
    assert found[0].logps[0] == -0.5
    assert math.isnan(found[0].logps[1])
    assert found[0].stopped
    path, body, key = min(seen, key=lambda one: one[1]["seed"])
    assert (path, key) == ("/v1/completions", None)
    assert body["prompt"] == [1]
    assert (body["max_tokens"], body["top_k"], body["temperature"], body["min_p"]) == (7, 5, 1.0, 0.0)


def test_a_busy_server_is_asked_again_and_an_error_of_the_request_is_not():
    answers = iter([(503, "loading"), (200, choice([4], [-1.0]))])
    with json_server(lambda path, body: next(answers)) as (url, seen):
        (found,) = client(url).complete([[1]], "m", Sampling(1))
        assert found.token_ids == (4,)
        assert len(seen) == 2

    with json_server(lambda path, body: (400, {"error": {"message": "max_tokens is too large"}})) as (
        url,
        seen,
    ):
        with pytest.raises(ServerError) as caught:
            client(url).complete([[1]], "m", Sampling(1))
        assert len(seen) == 1
    (told,) = caught.value.diagnostics
    assert told.pointer == "/compute/vllm/server_base_url"
    assert "400" in told.message
    assert told.notes == ("it said: max_tokens is too large",)


def test_the_key_is_sent_and_stands_in_no_message():
    with json_server(lambda path, body: (401, f"wrong key {KEY}")) as (url, seen):
        with pytest.raises(ServerError) as caught:
            client(url, key=KEY).models()
        assert seen[0][2] == f"Bearer {KEY}"
    assert KEY not in repr(caught.value.diagnostics)
    assert "api_key_env" in caught.value.diagnostics[0].hint


def test_nothing_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServerError, match="cannot be reached") as caught:
        client(url).must_be_up()
    assert caught.value.status is None
    with pytest.raises(ServerError, match="asked 2 times"):
        client(url, retries=1).complete([[1]] * 3, "m", Sampling(1))


def test_a_server_that_is_still_loading_is_waited_for():
    answers = iter([(503, ""), (200, "")])
    with json_server(lambda path, body: next(answers)) as (url, seen):
        client(url).must_be_up(wait=10)
        assert len(seen) == 2


@pytest.mark.parametrize(
    "found",
    ["no JSON", {"choices": []}, {"choices": [{"text": "hi"}]}, choice([1, 2], [-1.0]), [], None],
    ids=str,
)
def test_what_is_no_answer_of_vllm_is_told(found):
    told = pytest.raises(ServerError, match="something else than `vllm serve`")
    with json_server(lambda path, body: (200, found)) as (url, _), told:
        client(url).complete([[1]], "m", Sampling(1))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://[", ""])
def test_what_is_no_address_is_told_before_anything_is_asked(url):
    with pytest.raises(InputError, match="not the address"):
        client(url)
