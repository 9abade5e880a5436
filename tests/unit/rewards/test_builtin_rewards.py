"""The built-in rewards, in TRL's signature."""

import subprocess
import sys

import pytest

from ptspec.diagnostics import InputError
from ptspec.rewards.builtin import BUILTIN, builtin, option_faults


def score(name, completion, options=None, **columns):
    given = {column: [value] for column, value in columns.items()}
    (value,) = builtin(name, options or {})(prompts=["q"], completions=[completion], **given)
    return value


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("Tarn.", "Tarn", 1),
        ("  tarn ", "Tarn", 1),
        ("Tarn\n", "tarn!", 1),
        ("New   York", "new york", 1),
        ("Ｔａｒｎ", "Tarn", 1),
        ("In Tarn.", "Tarn", 0),
        ("", "", 0),
        ("...", "", 0),
    ],
)
def test_exact_match(text, gold, expected):
    assert score("exact_match", text, output=gold) == expected


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("Mira lives in Tarn.", "Tarn", 1),
        ("mira lives in TARN", "tarn", 1),
        ("Mira lives in Tarnhold.", "Tarn", 0),
        ("Neutarn", "Tarn", 0),
        ("It is 15.", "5", 0),
        ("It is 5.", "5", 1),
        ("It is 5.2.", "5", 0),
        ("It is 1,500.", "500", 0),
        ("It is -5.", "5", 0),
        ("It is −5.", "-5", 1),
        ("-5", "5", 0),
        ("from 3-5", "5", 1),
        ("in New\nYork today", "New York", 1),
        ("I write C++.", "C++", 1),
        ("I write C.", "C++", 0),
        ("a.b", "a*b", 0),
        ("anything", "", 0),
        ("es ist Zürich", "zürich", 1),
        ("Tarn's market", "Tarn", 1),
        ("", "Tarn", 0),
    ],
)
def test_contains_answer(text, gold, expected):
    assert score("contains_answer", text, answer=gold) == expected


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"pattern": r"\d+"}, " 42\n", 1),
        ({"pattern": r"\d+"}, "42 cats", 0),
        ({"pattern": r"\d+", "search": True}, "42 cats", 1),
        ({"pattern": r"\d+", "search": True}, "cats", 0),
    ],
)
def test_regex(options, text, expected):
    assert score("regex", text, options) == expected


@pytest.mark.parametrize(
    ("options", "words", "expected"),
    [
        ({"max": 4}, 0, 0),
        ({"max": 4}, 1, 1),
        ({"max": 4}, 4, 1),
        ({"max": 4}, 8, 0.5),
        ({"target": 4}, 4, 1),
        ({"target": 4}, 3, 0.75),
        ({"target": 4}, 5, 0.75),
        ({"target": 4}, 0, 0),
        ({"target": 4}, 90, 0),
    ],
)
def test_length(options, words, expected):
    assert score("length", "word " * words, options) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"a": 1}', 1), ('{"a": "x"}', 0), ("{", 0), ("", 0), ("[" * 100_000, 0), (' {"a": 1}\n', 1)],
)
def test_json_schema(text, expected):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert score("json_schema", text, {"schema": schema}) == expected


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("So 3 + 4 = 7.", "7", 1),
        ("The answer is 1,200.", "1200", 1),
        ("7 or 8", "7", 0),
        ("It is -3", "3", 0),
        ("half: 1/2", "0.5", 1),
        ("2e3", "2000", 1),
        ("none", "7", 0),
        ("7.0", "7", 1),
        ("$7", "7", 1),
        ("1/0", "7", 0),
        ("We get 42", "40 + 2 = 42", 1),
    ],
)
def test_numeric_answer(text, gold, expected):
    assert score("numeric_answer", text, answer=gold) == expected


def test_numeric_answer_within_a_tolerance():
    assert score("numeric_answer", "3.14", {"tolerance": 0.01}, answer="3.1416") == 1
    assert score("numeric_answer", "3.2", {"tolerance": 0.01}, answer="3.1416") == 0


def test_expressions_are_compared_where_math_verify_is_installed():
    assert score("numeric_answer", r"$\frac{x}{2}$", answer=r"$0.5x$") == 1
    assert score("numeric_answer", r"$\frac{x}{3}$", answer=r"$0.5x$") == 0
    assert score("numeric_answer", "$y+1$", answer="$x+1$") == 0


def test_an_expression_has_no_say_where_math_verify_is_not_installed(monkeypatch):
    """Not 0: the same recipe would pay nothing for right answers where the extra is missing."""
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert score("numeric_answer", r"$\frac12$", answer=r"$\frac{1}{2}$") is None
    assert score("numeric_answer", r"\frac{1}{2}", answer=r"\frac{1}{2}") is None
    assert score("numeric_answer", "So 1/2.", answer="0.5") == 1
    assert score("numeric_answer", "So 1/3.", answer="0.5") == 0


def test_a_right_answer_without_a_number_has_no_say():
    assert score("numeric_answer", "So 7.", answer="in Tarn") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a\nb</think><answer>c</answer>", 1),
        (" <think>a</think>\n\n<answer>c</answer> ", 1),
        ("<answer>c</answer><think>a</think>", 0),
        ("<think>a</think> so <answer>c</answer>", 0),
        ("<think>a</think><answer>c</answer><answer>d</answer>", 0),
        ("<think>a<think>b</think></think><answer>c</answer>", 0),
        ("<think>a</think>", 0),
        ("", 0),
    ],
)
def test_format(text, expected):
    assert score("format", text) == expected


def test_format_with_tags_of_ones_own():
    assert score("format", "<a>1</a> <b.c>2</b.c>", {"tags": ["a", "b.c"]}) == 1
    assert score("format", "<a>1</a> <bxc>2</bxc>", {"tags": ["a", "b.c"]}) == 0


@pytest.mark.parametrize(
    "completion",
    [
        [{"role": "assistant", "content": "Tarn"}],
        [
            {"role": "assistant", "content": "Let me look."},
            {"role": "tool", "content": "x"},
            {"role": "assistant", "content": "Tarn"},
        ],
        [{"role": "assistant", "content": [{"type": "text", "text": "Ta"}, {"type": "text", "text": "rn"}]}],
    ],
)
def test_of_messages_the_last_assistant_one_counts(completion):
    assert score("exact_match", completion, answer="Tarn") == 1


def test_the_first_column_that_is_there_is_the_right_answer():
    assert score("exact_match", "b", answer="a", output="b") == 1
    assert score("exact_match", "a", {"column": "answer"}, answer="a", output="b") == 1
    assert score("numeric_answer", "1", answer="1", output="2") == 1


def test_rows_without_an_answer_have_no_reward():
    reward = builtin("contains_answer")
    assert reward(prompts=["q", "q"], completions=["x", "x"], answer=[None, "x"]) == [None, 1.0]


def test_data_without_the_column_is_a_fault_that_says_what_there_is():
    with pytest.raises(InputError) as error:
        builtin("exact_match")(
            prompts=["q"],
            completions=["x"],
            completion_ids=[[1]],
            kind=["k"],
            town=["t"],
            trainer_state=None,
            log_metric=print,
        )
    (found,) = error.value.diagnostics
    assert found.code == "missing-column"
    assert found.message == (
        "the reward exact_match compares with the column output or answer, "
        "and a reward gets the columns kind, town of this data"
    )
    assert found.hint == (
        'name another with the option "column"; the column "completion" is reached when the source renames '
        'it: "columns": {"answer": "completion"}'
    )
    with pytest.raises(InputError, match="and a reward gets no column of this data"):
        builtin("contains_answer")(prompts=["q"], completions=["x"], completion_ids=[[1]])


def test_trl_finds_a_name():
    assert builtin("length", {"max": 3}).__name__ == "length"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "regex",
            {"pattern": "("},
            "not a regular expression: missing )",
        ),
        ("regex", {"pattern": "a{9999999999}"}, "not a regular expression"),
        ("json_schema", {"schema": {"type": "objekt"}}, "not a JSON Schema: 'objekt' is not valid"),
        ("json_schema", {"schema": {"pattern": "("}}, "not a JSON Schema"),
    ],
)
def test_a_value_that_cannot_be_used_is_found_before_anything_runs(name, options, message):
    (fault,) = option_faults(name, options, "/rewards/mine")
    assert message in fault.message and fault.hint
    assert fault.pointer.startswith(f"/rewards/mine/{next(iter(options))}")
    with pytest.raises(InputError):
        builtin(name, options)


def test_an_unknown_reward_is_told_with_the_near_one():
    with pytest.raises(InputError, match='"lenght" is not a built-in reward') as error:
        builtin("lenght")
    assert error.value.diagnostics[0].hint == 'did you mean "length"?'


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_says_what_it_is(name):
    reward = BUILTIN[name]
    assert reward.name == name and reward.summary


def test_importing_the_table_imports_nothing_heavy():
    heavy = "torch numpy jsonschema transformers math_verify sympy"
    code = f"import ptspec.rewards.builtin, sys; sys.exit(any(m in sys.modules for m in '{heavy}'.split()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
