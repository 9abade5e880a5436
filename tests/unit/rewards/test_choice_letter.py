"""The letter that a model's answer chooses."""

import time

import pytest
from support.scoring import score_of

from ptspec.rewards.letters import chosen_letter, letter_of_gold

score = score_of("choice_letter")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("That is a hard question; I would say C.", "C"),
        ("I think it is B, not A.", "B"),
        ("**B**", "B"),
        ("(C)", "C"),
        ("The answer is D.", "D"),
        ("B. Because A is too small", "B"),
        ("\\boxed{A}", "A"),
        ("Answer: A) Paris", "A"),
        ("a", "A"),
        ("b)", "B"),
        ("The correct answer is **C**.", "C"),
        ("The answer is (B) Lyon", "B"),
        ("A dog is an animal.", None),
        ("A.", "A"),
        ("A", "A"),
        ("C: x", "C"),
        ("It is not A but B", "B"),
        ("A or B", None),
        ("The correct option is C because B is wrong", "C"),
        ("A. x is wrong.\nB. y is wrong.\nC. z is right.\nSo C", "C"),
        ("Die Antwort ist B.", "B"),
        ("Die richtige Antwort lautet C.", "C"),
        ("La respuesta correcta es D", "D"),
        ("La réponse est A.", "A"),
        ("答案是B", "B"),
        ("答案：C", "C"),
        ("Ответ: D", "D"),
        ("I", "I"),
        ("I would choose option B", "B"),
        ("I'd go with D", "D"),
        ("Option C", "C"),
        ("$\\boxed{\\text{B}}$", "B"),
        ("The answer is: C", "C"),
        ("Final Answer: **D) blue**", "D"),
        ("A because it is big", "A"),
        ("The answer is A", "A"),
        ("It could be A or B.", None),
        ("", None),
        ("Vitamin C is in oranges. The answer is B", "B"),
        ("None of them", None),
        ('"B"', "B"),
        ("The answer is B, not A.", "B"),
        ("Both A and B", None),
        ("### Answer\nB", "B"),
        ("Answer: \n\n C", "C"),
        ("I believe the correct answer would be D) 42.", "D"),
        ("[B]", "B"),
        ("B - Lyon", "B"),
        ("<b>B</b>", "B"),
        ("The best answer is A: the sky", "A"),
        ("In plan B we go home, so the answer must be C", "C"),
        ("**Answer:** B", "B"),
        ("**The answer is (C).**", "C"),
        ("The answer is \\( \\boxed{D} \\).", "D"),
        ("正确答案是 A", "A"),
        ("정답: B", "B"),
        ("정답은 B입니다", "B"),
        ("答えはCです", "C"),
        ("La risposta corretta è B", "B"),
        ("C++ is a language", None),
        ("A is wrong, B is wrong, so D", "D"),
        ("Therefore, D is the correct answer.", "D"),
        ("D is correct", "D"),
        ("The answer is not A. It is C.", "C"),
        ("A is correct.", "A"),
        ("My choice: E", "E"),
        ("It's B", "B"),
        ("It's definitely B!", "B"),
        ("Answer B", "B"),
        ("The answer is a dog", None),
    ],
)
def test_the_letter_of_a_typical_answer(text, letter):
    assert chosen_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("That is a hard question; I would say C.", "A", 0),
        ("That is a hard question; I would say C.", "C", 1),
        ("I think it is B, not A.", "A", 0),
        ("I think it is B, not A.", "B", 1),
        ("<think>It may be A. Or A?</think>B", "A", 0),
        ("<think>It may be A. Or A?</think>B", "B", 1),
        ("<think>It must be A.", "A", 0),
        ("A dog.", "A", 0),
        ("A or B", "A", 0),
        ("(b)", "B", 1),
        ("Paris", "A", 0),
        ("", "A", 0),
    ],
)
def test_right_and_wrong(text, gold, right):
    assert score(text, gold) == right


@pytest.mark.parametrize("gold", ["A", "a", "(A)", "A.", "A)", "A) Paris", " A\n", "**A**", "A. The sky"])
def test_the_right_letter_in_any_form(gold):
    assert letter_of_gold(gold) == "A"
    assert score("The answer is A.", gold) == 1 and score("The answer is B.", gold) == 0


def test_a_right_answer_that_is_no_letter_has_no_say_and_that_is_reported():
    with pytest.warns(UserWarning, match='1 of 1 right answers, which name no letter .the first: "Paris".'):
        assert score("A", "Paris") is None


def test_letters_that_are_not_to_choose_from_are_no_choice():
    assert score("Plan E: it is B, by rule E", "B", letters="ABCD") == 1
    assert chosen_letter("I would take it", "ABCD") is None


@pytest.mark.parametrize(
    "text",
    [
        "A " * 40_000,
        "\n" * 100_000 + "A",
        "a" + "*" * 100_000 + "a",
        "the answer the " * 15_000,
        "A or " * 30_000,
    ],
)
def test_long_texts_take_no_long_time(text):
    begun = time.process_time()
    chosen_letter(text)
    assert time.process_time() - begun < 5
