"""What the user's functions are given, and how their mistakes are told."""

import asyncio

import numpy
import pytest
import torch

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.rewards.builtin import builtin
from ptspec.rewards.checked import CheckedJudge, CheckedReward, in_data_form
from ptspec.rewards.judges import counted

PROMPTS = ["one?", "two?", "three?"]
TEXTS = ["a", "bb", "ccc"]
CHAT_PROMPTS = [[{"role": "user", "content": text}] for text in PROMPTS]
CHAT_TEXTS = [[{"role": "assistant", "content": text}] for text in TEXTS]


def reward(function):
    return CheckedReward(function, "mine", "/rewards/mine")


def told(call):
    with pytest.raises(StageError) as error:
        call()
    (diagnostic,) = error.value.diagnostics
    return diagnostic


def returning(value):
    def mine(prompts, completions, **columns):
        return value

    return reward(mine)


def test_the_function_gets_what_it_names_and_nothing_else():
    def named(completions, answer, completion_ids, length=3):
        return [
            float(len(c) == len(a) and bool(i))
            for c, a, i in zip(completions, answer, completion_ids, strict=True)
        ]

    scores = reward(named)(
        prompts=PROMPTS,
        completions=TEXTS,
        completion_ids=[[1], [2], [3]],
        answer=["x", "yy", "z"],
        kind=["k"] * 3,
        trainer_state=object(),
        log_extra=print,
        log_metric=print,
    )
    assert scores == [1.0, 1.0, 0.0]


def test_the_function_gets_everything_with_columns():
    seen = {}

    def open_ended(prompts, **rest):
        seen.update(rest)
        return [0] * len(prompts)

    reward(open_ended)(prompts=PROMPTS, completions=TEXTS, answer=TEXTS, completion_ids=[[]] * 3)
    assert set(seen) == {
        "completions",
        "answer",
        "completion_ids",
        "trainer_state",
        "log_extra",
        "log_metric",
    }
    seen["log_metric"]("x", 1.0)


def test_a_column_that_the_data_lacks_is_reported_by_name():
    def needs(completions, answr):
        return [0.0] * 3

    found = told(lambda: reward(needs)(prompts=PROMPTS, completions=TEXTS, answer=TEXTS))
    assert found.code == "missing-column"
    assert found.message == 'the reward "mine" asks for the column "answr", which the data has not'
    assert found.hint == "columns: answer"
    assert found.location.file == __file__


@pytest.mark.parametrize(
    "value",
    [[1, 0.5, None], (1, 0.5, None), [True, numpy.float32(0.5), None], [torch.tensor(1.0), 0.5, None]],
)
def test_numbers_of_every_make_and_none_are_taken(value):
    assert returning(value)(PROMPTS, TEXTS) == [1.0, 0.5, None]


def test_arrays_are_taken():
    assert returning(numpy.array([1, 2, 3]))(PROMPTS, TEXTS) == [1.0, 2.0, 3.0]
    assert returning(torch.tensor([1.0, 2.0, 3.0]))(PROMPTS, TEXTS) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (-1e39, "-1e+39"),
        ("1", "a str, '1'"),
        ([1], "a list, [1]"),
        (10**400, "1000"),
    ],
)
def test_a_wrong_number_is_reported_with_its_row_and_prompt(bad, shown):
    found = told(lambda: returning([0.0, bad, 1.0])(PROMPTS, TEXTS))
    assert found.code == "wrong-reward"
    assert found.message.startswith(f'the reward "mine" returned {shown}')
    assert found.message.endswith(" for row 2 of the 3 in the batch")
    assert found.notes == ("prompt: two?", "completion: bb")
    assert found.pointer == "/rewards/mine"
    assert found.location.file == __file__
    assert found.location.text.strip() == "def mine(prompts, completions, **columns):"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "returned 2 numbers for 3 rows: row 3 is the first without one"),
        ([1.0] * 4, "returned 4 numbers for 3 rows"),
        (None, "returned None, not a list"),
        (0.5, "returned 0.5, not a list"),
        ("abc", "returned a str, 'abc', not a list"),
        ({"a": 1, "b": 2, "c": 3}, "returned a dict"),
        (numpy.zeros((3, 1)), "returned a ndarray"),
    ],
)
def test_a_wrong_count_is_reported(value, message):
    found = told(lambda: returning(value)(PROMPTS, TEXTS))
    assert found.code == "wrong-reward-count"
    assert message in found.message


def test_a_failure_is_reported_at_its_line_with_the_row_it_came_from():
    def helper(text):
        return 1 / (len(text) - 2)

    def mine(completions, **columns):
        return [helper(text) for text in completions]

    found = told(lambda: reward(mine)(PROMPTS, TEXTS, answer=TEXTS))
    assert found.code == "failing-reward"
    assert found.message == (
        'the reward "mine" failed with ZeroDivisionError: division by zero for row 2 of the 3 in the batch'
    )
    assert found.location.text.strip() == "return 1 / (len(text) - 2)"
    assert found.notes == ("prompt: two?", "completion: bb")


def test_a_failure_of_no_single_row_is_reported_without_one():
    def mine(completions, **columns):
        if len(completions) > 1:
            raise RuntimeError("too many\nat once")
        return [0.0]

    found = told(lambda: reward(mine)(PROMPTS, TEXTS))
    assert found.message == 'the reward "mine" failed with RuntimeError: too many at once'
    assert found.notes == ()


def test_an_interrupt_is_not_taken_for_a_failure():
    def mine(completions, **columns):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reward(mine)(PROMPTS, TEXTS)


def test_a_fault_that_a_builtin_tells_keeps_its_words_and_gets_its_place():
    found = told(lambda: reward(builtin("exact_match"))(PROMPTS, TEXTS))
    assert (found.code, found.pointer) == ("missing-column", "/rewards/mine")

    def mine(completions):
        raise InputError(Diagnostic("x", "own words", pointer="/own"))

    assert told(lambda: reward(mine)(PROMPTS, TEXTS)).pointer == "/own"


def test_async_functions_are_awaited():
    async def mine(completions):
        return await asyncio.gather(*(asyncio.sleep(0, float(len(text))) for text in completions))

    assert reward(mine)(PROMPTS, TEXTS) == [1.0, 2.0, 3.0]


def test_long_prompts_are_shortened_to_one_line():
    prompts = [[{"role": "system", "content": "s"}, {"role": "user", "content": "word\n" * 200}]]
    found = told(lambda: returning([float("nan")])(prompts, [CHAT_TEXTS[0]]))
    assert found.notes[0].startswith("prompt: word word")
    assert len(found.notes[0]) < 140
    assert found.notes[1] == "completion: a"


def test_strings_of_the_data_arrive_as_strings_and_messages_as_messages():
    seen = []

    def mine(prompts, completions, **columns):
        seen.append((prompts, completions, columns["answer"]))
        return [0.0] * len(prompts)

    for strings in (True, False):
        checked = reward(in_data_form(mine, strings))
        checked(prompts=CHAT_PROMPTS, completions=CHAT_TEXTS, answer=CHAT_TEXTS)
    assert seen == [(PROMPTS, TEXTS, CHAT_TEXTS), (CHAT_PROMPTS, CHAT_TEXTS, CHAT_TEXTS)]
    reward(in_data_form(mine, True))(PROMPTS, TEXTS, answer=None)
    assert seen[-1] == (PROMPTS, TEXTS, None)


def test_in_data_form_hides_neither_the_signature_nor_the_place():
    def needs(completions, answer):
        return [0.0, float("nan"), 0.0]

    checked = reward(in_data_form(needs, True))
    found = told(lambda: checked(prompts=CHAT_PROMPTS, completions=CHAT_TEXTS, answer=TEXTS, more=TEXTS))
    assert found.location.text.strip() == "def needs(completions, answer):"
    assert found.notes == ("prompt: two?", "completion: bb")


def test_a_judge_is_given_texts_by_position_and_held_to_probabilities():
    def prefers(prompts, first, second):
        return [float(len(a) > len(b)) for a, b in zip(first, second, strict=True)]

    judge = CheckedJudge(in_data_form(prefers, True), "long", "/judges/long")
    assert judge(CHAT_PROMPTS, CHAT_TEXTS, CHAT_TEXTS[::-1]) == [0.0, 0.0, 1.0]
    assert judge.__name__ == "long"


@pytest.mark.parametrize("strings", [True, False])
def test_what_a_judge_counts_is_seen_through_the_check(strings):
    class Counting:
        def __init__(self):
            self.counters = self

        def metrics(self):
            return {"judge/asked": 3.0}

        def __call__(self, prompts, a, b):
            return [0.5] * len(a)

    assert counted(CheckedJudge(in_data_form(Counting(), strings), "c")) == {"judge/asked": 3.0}
    assert counted(CheckedJudge(lambda prompts, a, b: [0.5], "c")) == {}


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), None, "A"])
def test_a_judgement_that_is_no_probability_is_reported(bad):
    def mine(prompts, a, b):
        return [0.5, 0.5, bad]

    found = told(lambda: CheckedJudge(mine, "mine", "/judges/mine")(PROMPTS, TEXTS, TEXTS[::-1]))
    assert found.code == "wrong-judgement"
    assert found.message.endswith("for row 3 of the 3 in the batch")
    assert found.notes == ("prompt: three?", "a: ccc", "b: a")


def test_a_judge_that_fails_is_reported_like_a_reward():
    def mine(prompts, a, b):
        return [{"a": 1}[text] for text in a]

    found = told(lambda: CheckedJudge(mine, "mine", "/judges/mine")(PROMPTS, TEXTS, TEXTS))
    assert found.code == "failing-judge"
    assert found.message.startswith("the judge \"mine\" failed with KeyError: 'bb' for row 2")
