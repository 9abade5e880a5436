"""Thoughts are not answers."""

import pytest

from ptspec.rewards.builtin import builtin
from ptspec.rewards.thoughts import without_thoughts

THINK = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>maybe 7?</think> It is 9.", " It is 9."),
        ("<think>maybe 7", ""),
        ("maybe 7</think>9", "9"),
        ("Well. <think>7</think>9<think>8", "9"),
        ("[THINK]7[/THINK]9", "9"),
        ("<|START_THINKING|>7<|END_THINKING|>9", "9"),
        ("<|channel|>analysis<|message|>7<|end|><|start|>assistant<|channel|>final<|message|>9", "9"),
        ("<reasoning>7</reasoning>\n<answer>9</answer>", "9"),
        ("<answer>9", "9"),
        ("9", "9"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_completion(text, answer):
    assert without_thoughts(text) == answer


def test_a_models_own_tags_and_thoughts_that_the_prompt_opened():
    assert without_thoughts("<hm>7</hm>9", own=[("<hm>", "</hm>")]) == "9"
    assert without_thoughts("7, I gue", opened=THINK) == ""
    assert without_thoughts("7</think>9", opened=THINK) == "9"


@pytest.mark.parametrize("name", ["contains_answer", "exact_match", "numeric_answer", "math_answer"])
def test_no_reward_finds_its_answer_in_thoughts(name):
    reward = builtin(name)
    texts = ["<think>maybe 7?</think> 9", "<think>maybe 9?</think> 7", "<think>7"]
    assert reward(prompts=["q"] * 3, completions=texts, answer=["7"] * 3) == [0, 1, 0]
