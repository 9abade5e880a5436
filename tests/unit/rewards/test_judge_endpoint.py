"""A judge behind an endpoint, against a real HTTP server on this machine."""

import json
import logging
import random
import re
import socket
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise

import pytest
from support.judge_server import KEY, judge_at

from ptspec.diagnostics import InputError, StageError
from ptspec.training import resume_online


def sides(body):
    """The two answers as the default prompt shows them."""
    text = body["messages"][0]["content"]
    return tuple(
        re.search(rf"<answer_{side}>\n(.*?)\n</answer_{side}>", text, re.DOTALL).group(1) for side in "ab"
    )


def longer(body, number):
    a, b = sides(body)
    return "TIE" if len(a) == len(b) else "A" if len(a) > len(b) else "B"


def told(call):
    with pytest.raises(StageError) as error:
        call()
    (diagnostic,) = error.value.diagnostics
    return diagnostic


def test_an_honest_model_is_asked_in_both_orders(serve, tmp_path):
    server = serve(longer)
    judge = judge_at(server.address, tmp_path)
    assert judge(["p", "q", "r"], ["long", "s", "x"], ["s", "long", "y"]) == [1.0, 0.0, 0.5]
    assert len(server.requests) == 6
    assert {sides(body) for body in server.requests} == {
        ("long", "s"),
        ("s", "long"),
        ("x", "y"),
        ("y", "x"),
    }
    assert set(server.paths) == {"/v1/chat/completions"}
    body = server.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-judge", 0.0, 64)
    assert len(body["messages"]) == 1
    assert judge.counters.metrics() == {
        "judge/asked": 6.0,
        "judge/retried": 0.0,
        "judge/unparsed": 0.0,
        "judge/order_disagreement": 0.0,
    }


def test_a_liking_for_the_first_place_cancels_and_is_counted(serve, tmp_path):
    server = serve(lambda body, number: "A")
    judge = judge_at(server.address, tmp_path)
    there, back = judge(["p"], ["x"], ["y"]), judge(["p"], ["y"], ["x"])
    assert there == back == [0.5]
    assert (judge.counters.pairs, judge.counters.disagreed) == (1, 1)
    assert judge_at(server.address, tmp_path, swap=False)(["p"], ["x"], ["y"]) == [1.0]


def test_p_of_a_over_b_and_of_b_over_a_make_one(serve, tmp_path):
    answers = {("x", "y"): "A", ("y", "x"): "TIE"}
    judge = judge_at(serve(lambda body, number: answers[sides(body)]).address, tmp_path)
    assert judge(["p"], ["x"], ["y"]) == [0.75]
    assert judge(["p"], ["y"], ["x"]) == [0.25]


def test_nothing_is_asked_twice_and_equal_answers_are_not_asked_at_all(serve, tmp_path):
    server = serve(longer)
    judge = judge_at(server.address, tmp_path)
    assert judge(["p"] * 4, ["xx", "xx", "y", "same"], ["y", "y", "xx", "same"]) == [1.0, 1.0, 0.0, 0.5]
    judge(["p"], ["xx"], ["y"])
    assert len(server.requests) == judge.counters.asked == 2
    judge(["another"], ["xx"], ["y"])
    assert len(server.requests) == 4


def test_messages_are_shown_as_text(serve, tmp_path):
    server = serve(longer)
    prompt = [{"role": "user", "content": "Hi"}]
    talk = [*prompt, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Why {a}?"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("xx", "y {b}")]
    judge_at(server.address, tmp_path, swap=False)([prompt, talk], [answers[0]] * 2, [answers[1]] * 2)
    texts = sorted(body["messages"][0]["content"] for body in server.requests)
    assert any("<request>\nHi\n</request>" in text for text in texts)
    assert any("<request>\nuser: Hi\n\nassistant: Hello\n\nuser: Why {a}?\n</request>" in t for t in texts)
    assert all("<answer_b>\ny {b}\n</answer_b>" in text for text in texts)


def test_a_template_of_the_users_takes_the_place_of_ours(serve, tmp_path):
    (tmp_path / "mine.txt").write_text("Q={prompt} 1={a} 2={b} {other}")
    server = serve(lambda body, number: "B")
    judge_at(server.address, tmp_path, template="mine.txt", swap=False)(["p"], ["x"], ["y"])
    assert server.requests[0]["messages"][0]["content"] == "Q=p 1=x 2=y {other}"


def test_overload_and_faults_are_waited_out(serve, tmp_path):
    troubles = {
        1: (429, {"Retry-After": "0.3"}, {"error": "slow down"}),
        2: (500, {}, b"oops"),
        3: (503, {}, b""),
    }
    server = serve(lambda body, number: troubles.get(number) or longer(body, number))
    judge = judge_at(server.address, tmp_path, swap=False, first_backoff=0.0)
    begun = time.monotonic()
    assert judge(["p"], ["xx"], ["y"]) == [1.0]
    assert 0.3 <= time.monotonic() - begun < 10
    assert judge.counters.retried == 3


def test_a_date_in_retry_after_is_understood(serve, tmp_path):
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
    server = serve(lambda body, number: (429, {"Retry-After": later}, b"") if number == 1 else "A")
    begun = time.monotonic()
    judge_at(server.address, tmp_path, swap=False, first_backoff=0.0)(["p"], ["x"], ["y"])
    assert 0.5 < time.monotonic() - begun < 10


def test_a_wait_of_hours_is_reported_and_not_waited_for(serve, tmp_path):
    server = serve(lambda body, number: (429, {"Retry-After": "7200"}, b"quota"))
    found = told(lambda: judge_at(server.address, tmp_path)(["p"], ["x"], ["y"]))
    assert "429 Too Many Requests; retry after 7,200 s" in found.message
    assert found.notes == ("quota",)


def test_backoff_grows_and_draws_on_no_global_random_numbers(serve, tmp_path):
    times = []

    def reply(body, number):
        times.append(time.monotonic())
        return (500, {}, b"") if number < 4 else "A"

    judge = judge_at(serve(reply).address, tmp_path, swap=False, first_backoff=0.1)
    random.seed(3)
    before = random.getstate()
    judge(["p"], ["x"], ["y"])
    assert random.getstate() == before
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 3
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))


def test_a_server_that_stays_broken_is_reported_after_the_last_try(serve, tmp_path):
    server = serve(lambda body, number: (502, {}, b"<html>Bad\n gateway</html>"))
    found = told(lambda: judge_at(server.address, tmp_path, retries=2, swap=False)(["p"], ["x"], ["y"]))
    assert found.code == "judge-endpoint"
    assert found.message == f"the judge at {server.address} answered 502 Bad Gateway (asked 3 times)"
    assert found.notes == ("<html>Bad gateway</html>",)
    assert found.pointer == "/judges/fair/endpoint"
    assert "the same command resumes" in found.hint
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "api_key_env"),
        (403, "key"),
        (404, "such as http://localhost:8000/v1"),
        (400, "endpoint"),
        (302, "endpoint"),
    ],
)
def test_what_trying_again_does_not_mend_is_reported_at_once(serve, tmp_path, status, hint):
    server = serve(lambda body, number: (status, {}, {"error": {"message": "no such thing"}}))
    found = told(lambda: judge_at(server.address, tmp_path, swap=False)(["p"], ["x"], ["y"]))
    assert f"answered {status}" in found.message
    assert hint in found.hint
    assert "no such thing" in found.notes[0]
    assert len(server.requests) == 1


def test_a_slow_server_runs_out_of_time(serve, tmp_path):
    over = threading.Event()
    server = serve(lambda body, number: (number == 1 and over.wait() and None) or "A")
    judge = judge_at(server.address, tmp_path, swap=False, timeout=0.2, retries=20)
    assert judge(["p"], ["x"], ["y"]) == [1.0]
    assert judge.counters.retried >= 1
    server = serve(lambda body, number: (over.wait() and None) or "A")
    found = told(lambda: judge_at(server.address, tmp_path, timeout=0.1, retries=1)(["p"], ["x"], ["y"]))
    over.set()
    assert found.message.endswith("did not answer in time (asked 2 times)")
    assert '"timeout"' in found.hint


def test_a_server_that_is_not_there_is_reported(serve, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    found = told(lambda: judge_at(address, tmp_path, retries=1)(["p"], ["x"], ["y"]))
    assert f"the judge at {address} cannot be reached" in found.message
    assert "is the server running" in found.hint


def test_a_body_that_is_no_chat_completion_is_tried_again_then_reported(serve, tmp_path):
    bodies = [b"<html>", b"[]", {"choices": []}, {"choices": [{"message": None}]}, b"\xff", b"[" * 100_000]
    server = serve(lambda body, number: (200, {}, bodies[number - 1]) if number <= 6 else "A")
    judge = judge_at(server.address, tmp_path, swap=False, retries=6, first_backoff=0.0)
    assert judge(["p"], ["x"], ["y"]) == [1.0]
    server = serve(lambda body, number: (200, {}, b"<html>hello</html>"))
    found = told(lambda: judge_at(server.address, tmp_path, retries=0)(["p"], ["x"], ["y"]))
    assert found.message.endswith("answered with something other than a chat completion")
    assert found.notes == ("<html>hello</html>",)


def test_replies_that_say_nothing_are_asked_once_more_and_then_are_ties(serve, tmp_path):
    replies = {"said": "A", "mended": None, "refused": None, "chatty": "I think that A is better."}

    def reply(body, number):
        text = body["messages"][0]["content"]
        first = re.search(r"<request>\n(.*)\n</request>", text).group(1)
        if first == "mended" and "could not be read" in text:
            return "B"
        return replies[first]

    server = serve(reply)
    judge = judge_at(server.address, tmp_path, swap=False)
    assert judge(list(replies), ["x"] * 4, ["y"] * 4) == [1.0, 0.0, 0.5, 0.5]
    assert len(server.requests) == 7
    assert (judge.counters.asked, judge.counters.unparsed) == (4, 2)
    assert judge.counters.metrics()["judge/unparsed"] == 0.5


def test_as_many_requests_run_at_once_as_allowed_and_the_order_of_rows_is_kept(serve, tmp_path):
    def reply(body, number):
        time.sleep(random.Random(number).uniform(0.01, 0.05))
        return longer(body, number)

    rows = [("x" * (n % 5), "y" * 2) for n in range(24)]
    for most in (1, 6):
        server = serve(reply)
        judge = judge_at(server.address, tmp_path, max_concurrency=most)
        wins = judge([f"p{n}" for n in range(24)], [a for a, _ in rows], [b for _, b in rows])
        assert wins == [(len(a) > 2) + (len(a) == 2) / 2 for a, _ in rows]
        assert server.most == 1 if most == 1 else 1 < server.most <= most
        assert len(server.requests) == 48


def test_the_first_failure_ends_the_rest_soon(serve, tmp_path):
    def reply(body, number):
        return (401, {}, b"") if number == 5 else (429, {"Retry-After": "60"}, b"")

    server = serve(reply)
    judge = judge_at(server.address, tmp_path, max_concurrency=8)
    begun = time.monotonic()
    assert "401" in told(lambda: judge([str(n) for n in range(40)], ["x"] * 40, ["y"] * 40)).message
    assert time.monotonic() - begun < 10
    assert len(server.requests) <= 16


def test_a_judge_can_be_asked_again_after_a_failure_and_keeps_what_it_learned(serve, tmp_path):
    broken = [True]
    server = serve(lambda body, number: (400, {}, b"") if broken[0] and number == 2 else "A")
    judge = judge_at(server.address, tmp_path, swap=False, max_concurrency=1)
    told(lambda: judge(["p", "q"], ["x"] * 2, ["y"] * 2))
    broken[0] = False
    assert judge(["p", "q"], ["x"] * 2, ["y"] * 2) == [1.0, 1.0]
    assert len(server.requests) == 3


def test_the_key_goes_to_the_server_and_nowhere_else(serve, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    server = serve(lambda body, number: (400, {}, {"error": f"the key {KEY} is bad"}))
    judge = judge_at(server.address, tmp_path, api_key_env="JUDGE_KEY")
    with pytest.raises(StageError) as error:
        judge(["p"], ["x"], ["y"])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "the key [key] is bad" in error.value.diagnostics[0].notes[0]
    seen = [repr(judge), repr(judge.client), repr(judge.client._http), repr(vars(judge)), caplog.text]
    seen += [repr(error.value.diagnostics), str(error.value)]
    assert not [text for text in seen if KEY in text]


@pytest.mark.parametrize("value", [None, "", "  ", "sk-ключ", "a\nb"])
def test_a_key_that_is_not_there_is_reported_before_anything_is_asked(tmp_path, monkeypatch, value):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(InputError) as error:
        judge_at("http://127.0.0.1:9/v1", tmp_path, api_key_env="JUDGE_KEY")
    (found,) = error.value.diagnostics
    assert found.code == "missing-key"
    assert found.pointer == "/judges/fair/api_key_env"
    assert "JUDGE_KEY" in found.message
    assert not value or not value.strip() or value not in repr(found)


def test_without_httpx_one_is_reported_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError) as error:
        judge_at("http://127.0.0.1:9/v1", tmp_path)
    assert error.value.diagnostics[0].hint == 'pip install "ptspec[judge]"'


def test_an_address_down_to_the_path_is_the_same_endpoint(serve, tmp_path):
    server = serve(longer)
    judge_at(f"{server.address}/chat/completions/", tmp_path, swap=False)(["p"], ["xx"], ["y"])
    assert server.paths == ["/v1/chat/completions"]


def test_what_was_answered_goes_into_a_checkpoint_and_is_not_asked_again(serve, tmp_path):
    server = serve(longer)
    first = judge_at(server.address, tmp_path)
    wins = first(["p", "p"], ["a", "long"], ["bb", "b"])
    memory = json.loads(json.dumps(first.memory()))
    again, asked = judge_at(server.address, tmp_path), len(server.requests)
    again.recall(memory)
    assert again(["p", "p"], ["a", "long"], ["bb", "b"]) == wins == [0.0, 1.0]
    assert len(server.requests) == asked == 4
    assert again.counters == first.counters and again.memory() == first.memory()


def test_what_the_judges_of_several_processes_were_reported_is_shared_out_again(serve, tmp_path):
    server = serve(longer)
    for process, prompt in enumerate(["p", "q", "r"]):
        judge = judge_at(server.address, tmp_path)
        judge([prompt], ["a"], ["bb"])
        resume_online.remember(judge, tmp_path, process)
    asked = len(server.requests)
    two = [judge_at(server.address, tmp_path) for _ in range(2)]
    for process, judge in enumerate(two):
        resume_online.recall(judge, tmp_path, process, 2)
    assert two[0](["p", "r"], ["a", "a"], ["bb", "bb"]) == [0.0, 0.0]
    assert two[1](["q"], ["a"], ["bb"]) == [0.0]
    assert len(server.requests) == asked == sum(judge.counters.asked for judge in two)


def test_what_is_kept_of_a_question_does_not_grow_with_its_texts(serve, tmp_path):
    judge = judge_at(serve(longer).address, tmp_path)
    judge(["p" * 5000] * 2, ["a" * 5000, "\ud800"], ["b" * 6000, "x"])
    written = json.dumps(judge.memory())
    assert "ppp" not in written and len(written) < 600
    assert judge(["p" * 5000], ["b" * 6000], ["a" * 5000]) == [1.0]
    assert judge.counters.pairs == 2, "a pair in the other order is the same pair"
