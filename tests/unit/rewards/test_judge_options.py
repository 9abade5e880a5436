"""What is asked of a judging model and how its reply is read; the options of an endpoint."""

import time

import pytest

from ptspec.data.tokens.thoughts import KNOWN
from ptspec.diagnostics import InputError
from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec
from ptspec.rewards.endpoint import endpoint_judge
from ptspec.rewards.endpoint_checks import endpoint_faults
from ptspec.rewards.verdict import PROMPT, filled, missing_places, win_of


@pytest.mark.parametrize(
    ("reply", "win"),
    [
        ("A", 1.0),
        (" b\n", 0.0),
        ("TIE", 0.5),
        ("tie.", 0.5),
        ("**B**", 0.0),
        ("[[A]]", 1.0),
        ('"A"', 1.0),
        ('{"winner": "A"}', 1.0),
        ('```json\n{"winner": "tie", "why": "both are right"}\n```', 0.5),
        ("<think>B is wrong, so</think>\n\nA", 1.0),
        ("<think>B</think>", None),
        ("<think>A", None),
        ("A is better", None),
        ("Answer A", None),
        ("AB", None),
        ("A B", None),
        ("A or B", None),
        ("A\nB", None),
        ("", None),
        (None, None),
        ('{"winner": "C"}', None),
        ('{"winner": ["A"]}', None),
        ('{"better": "A"}', None),
        ('["A"]', 1.0),
        ("[" * 100_000, None),
        ("I cannot help with that.", None),
        ("\u0391", None),
    ],
)
def test_a_reply_is_read_strictly(reply, win):
    assert win_of(reply) == win


@pytest.mark.parametrize("reply", ["```" + " " * 100_000 + "x", "<think>" * 50_000, " " * 100_000 + "x"])
def test_reading_a_reply_takes_linear_time(reply):
    start = time.process_time()
    assert win_of(reply) is None
    assert time.process_time() - start < 5


def test_only_what_is_thought_before_the_reply_is_passed_over():
    assert win_of("\n<think>B</think> A\n") == 1.0
    assert win_of("A <think>B</think>") is None


@pytest.mark.parametrize(("opening", "closing"), KNOWN)
def test_the_thoughts_of_every_model_are_passed_over(opening, closing):
    assert win_of(f"{opening}B is wrong, so{closing}\n\nA") == 1.0
    assert win_of(f"{opening}B is wrong, so A") is None


def test_texts_are_put_in_once_and_their_own_braces_left_alone():
    assert filled("{prompt}|{a}|{b}|{c}", "{a}", "{b} \\1", "{prompt}") == "{a}|{b} \\1|{prompt}|{c}"


def test_our_own_template_has_every_place():
    assert missing_places(PROMPT.read_text("utf-8")) == []
    assert missing_places("{a}") == ["{prompt}", "{b}"]


def faults(tmp_path, endpoint="http://localhost:8000/v1", model="m", **options):
    spec = JudgeSpec("fair", endpoint=endpoint, model=model, options=options, at="/judges/fair")
    return endpoint_faults(spec, Places(tmp_path, tmp_path))


def test_sound_options_have_no_fault(tmp_path):
    (tmp_path / "t.txt").write_text("{prompt}{a}{b}")
    sound = {
        "api_key_env": "OPENAI_API_KEY",
        "template": "t.txt",
        "temperature": None,
        "max_tokens": 2048,
        "max_concurrency": 1,
        "timeout": 0.5,
        "retries": 0,
        "swap": False,
    }
    assert faults(tmp_path, **sound) == []
    assert faults(tmp_path) == []
    assert faults(tmp_path, endpoint="https://[::1]:8000") == []


def test_a_template_that_is_not_there_is_reported(tmp_path):
    (fault,) = faults(tmp_path, template="missing.txt")
    assert (fault.pointer, fault.message) == ("/judges/fair/template", 'no such file: "missing.txt"')
    assert fault.hint


def test_a_template_without_its_places_is_reported(tmp_path):
    (tmp_path / "t.txt").write_text("{prompt}{a}")
    (fault,) = faults(tmp_path, template="t.txt")
    assert fault.message == "t.txt has no {b}"
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe")
    assert "UTF-8" in faults(tmp_path, template="t.txt")[0].message


@pytest.mark.parametrize("endpoint", ["http://", "http://:80/v1", "http://host:99999/v1", "http://[::1/v1"])
def test_what_is_no_address_is_reported(tmp_path, endpoint):
    assert faults(tmp_path, endpoint=endpoint)[0].pointer == "/judges/fair/endpoint"


SECRET = "sk-secret-42"


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": f"http://user:{SECRET}@host/v1"},
        {"endpoint": f"http://host/v1?key={SECRET}"},
    ],
)
def test_a_key_in_the_address_is_refused_and_not_repeated(tmp_path, given):
    (fault,) = faults(tmp_path, **given)
    assert SECRET not in repr(fault)
    assert "key" in fault.hint
    options = {"model": "m", "endpoint": "http://host/v1"} | given
    fields = {name: options.pop(name) for name in ("model", "endpoint")}
    with pytest.raises(InputError) as error:
        endpoint_judge(JudgeSpec("j", options=options, at="/judges/j", **fields), Places(tmp_path, tmp_path))
    assert SECRET not in repr(error.value.diagnostics) + str(error.value)
