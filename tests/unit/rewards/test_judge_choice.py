"""Replies held to a choice: which field is asked for, and what is said where the server does not hold them.

What vLLM itself does is in tests/e2e/test_vllm_judge.py."""

import contextlib

import pytest
from support.json_server import json_server
from support.judge_server import completion

from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.choice_replies import TRIAL
from ptspec.rewards.endpoint import endpoint_judge


@contextlib.contextmanager
def serving(version, field):
    """A server of that version (None: it has none) that holds its replies to the first word of `field`, and
    refuses a field called "refused"."""
    asked = []

    def reply(path, body):
        if body is None:
            found = version is not None and path == "/version"
            return 200 if found else 404, {"version": version}
        asked.append(body)
        choice = body.get(field, [])
        choice = choice.get("choice") if isinstance(choice, dict) else choice
        if field == "refused" and {"structured_outputs", "guided_choice"} & set(body):
            return 400, {"error": {"message": "no grammars here"}}
        return 200, completion(choice[0] if choice else "B, I think")

    with json_server(reply) as (url, _):
        yield f"{url}/v1", asked


def judged(address, tmp_path, **options):
    said = []
    spec = JudgeSpec(
        "fair", endpoint=address, model="m", options={"swap": False, **options}, at="/judges/fair"
    )
    judge = endpoint_judge(spec, Places(tmp_path, tmp_path), said.append)
    wins = [*judge(["p"], ["a"], ["b"]), *judge(["q"], ["a"], ["b"])]
    return wins, judge.counters, said


@pytest.mark.parametrize(
    ("version", "field"),
    [
        ("0.32.0+cpu", "structured_outputs"),
        ("0.11.0rc2", "structured_outputs"),
        ("0.10.2", "guided_choice"),
        ("1.0", "structured_outputs"),
    ],
)
def test_vllm_is_asked_for_one_of_the_words_after_one_trial(tmp_path, version, field):
    with serving(version, field) as (address, asked):
        wins, counters, said = judged(address, tmp_path)
    assert (wins, counters.asked, counters.unparsed, said) == ([1.0, 1.0], 2, 0, [])
    trial, *questions = [body[field] for body in asked]
    words = [one["choice"] if field == "structured_outputs" else one for one in (trial, *questions)]
    assert words == [[TRIAL], ["A", "B", "TIE"], ["A", "B", "TIE"]]


@pytest.mark.parametrize(
    ("version", "field", "why"),
    [
        (None, "structured_outputs", "does not say that it is vLLM"),
        ("0.32.0", "ignored", "vLLM 0.32.0 was asked to and did not"),
        ("0.32.0", "refused", "no grammars here"),
    ],
)
def test_replies_of_another_server_are_read_as_they_come_which_is_said_once(tmp_path, version, field, why):
    with serving(version, field) as (address, asked):
        wins, counters, (said,) = judged(address, tmp_path)
    assert (wins, counters.asked, counters.unparsed) == ([0.5, 0.5], 2, 2)
    assert "judge fair: replies are read as they come" in said and why in said
    assert not any({"structured_outputs", "guided_choice"} & set(body) for body in asked[-4:])


def test_it_is_not_asked_for_where_the_recipe_says_no(tmp_path):
    with serving("0.32.0", "structured_outputs") as (address, asked):
        wins, counters, said = judged(address, tmp_path, structured_outputs=False)
    assert (wins, counters.unparsed, said, len(asked)) == ([0.5, 0.5], 2, [], 4)
