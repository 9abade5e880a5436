"""A server as the judge of an evaluation: what is asked, what is counted, what is told when it is down."""

import contextlib
import json
import socket

import pytest
from support.judge_server import Server

from ptspec.diagnostics import InputError, StageError
from ptspec.evaluation.choose_judge import Chosen, choose, judgement
from ptspec.evaluation.judging import NamedJudge, judged
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.store import STATS, load_measurement, write
from ptspec.evaluation.targets import Target
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import AdapterSpec
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.endpoint import endpoint_judge

SETTINGS = Settings(seed=1, max_new_tokens=8, preference_reference=None, chat=True)


def said(name, *texts):
    rows = tuple(RowMeasurement(id=str(i), prompt=f"q{i}", response=text) for i, text in enumerate(texts))
    return Measurement(name, rows, {}, SETTINGS)


def made(address, tmp_path, **options):
    spec = JudgeSpec("llm", endpoint=address, model="m", options={"retries": 1, **options}, at="/judges/llm")
    return endpoint_judge(spec, Places(tmp_path, tmp_path))


BEFORE, AFTER = said("sft", "plain", "bad", "odd", "same"), said("dpo", "good", "worse", "mute", "same")


def reply(body, number):
    """The first request is refused by the server; "mute" is never judged; else the shorter one is better."""
    if number == 1:
        return 503, {}, {}
    text = body["messages"][0]["content"]
    if "mute" in text:
        return "I'd rather not say"
    a, b = (text.find(word) for word in (("good", "plain") if "good" in text else ("bad", "worse")))
    return "A" if a < b else "B"


def test_counters_stand_in_the_evaluations_statistics(tmp_path):
    with contextlib.closing(Server(reply)) as server:
        found = judged(NamedJudge("llm", made(server.address, tmp_path)), AFTER, BEFORE, None)
    assert found.rows[0].judged == {"sft": 1.0} and found.rows[1].judged == {"sft": 0.0}
    assert found.rows[2].judged == found.rows[3].judged == {"sft": 0.5}
    assert (found.judge.asked, found.judge.retried, found.judge.unparsed) == (6, 1, 2)
    assert (found.judge.compared, found.judge.ties) == (4, 2)
    write(tmp_path, found, samples=1)
    assert json.loads((tmp_path / STATS).read_text())["judge"]["retried"] == 1
    assert load_measurement(tmp_path).judge == found.judge


def test_a_comparison_says_what_it_took(tmp_path):
    with contextlib.closing(Server(reply)) as server:
        chosen = Chosen("llm", lambda strings: made(server.address, tmp_path))
        found = compare([BEFORE, AFTER], judgement=judgement(chosen, [BEFORE, AFTER]))
    assert "judge llm: 4 pairs of answers, 2 of them ties; 6 questions, 1 asked again" in found.notes[-1]
    assert "2 answers that could not be read" in found.notes[-1]


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_a_server_that_is_down_is_a_fault_of_the_question(tmp_path):
    judge = made(closed_port(), tmp_path, retries=0)
    with pytest.raises(InputError, match="cannot be reached"):
        judge.client.must_be_up()
    with pytest.raises(StageError, match="cannot be reached"):
        judged(NamedJudge("llm", judge), AFTER, BEFORE, None)
    with pytest.raises(InputError, match="cannot be reached"):
        judgement(Chosen("llm", lambda strings: judge), [BEFORE, AFTER])
    with pytest.raises(InputError, match="there is no judge"):
        choose([Target("a", "b", None, AdapterSpec(True))], "llm", allow_code=False)
