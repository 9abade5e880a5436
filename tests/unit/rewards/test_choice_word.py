"""Which of a few words a model's answer chooses."""

import pytest
from support.scoring import score_of

from ptspec.rewards.letters import chosen_word

score = score_of("choice_word")


@pytest.mark.parametrize(
    ("text", "words", "word"),
    [
        ("There is no doubt: yes.", ("yes", "no"), "yes"),
        ("No, because yes", ["yes", "no"], "no"),
        ("Yes.", ("yes", "no"), "yes"),
        ("Yes it is, no doubt about it", ("yes", "no"), "yes"),
        ("No doubt: yes", ("yes", "no"), "yes"),
        ("The answer is no.", ("yes", "no"), "no"),
        ("**Yes**", ("yes", "no"), "yes"),
        ("I would say no.", ("yes", "no"), "no"),
        ("It is not true", ("true", "false"), "false"),
        ("True", ("true", "false"), "true"),
        ("The statement is false.", ("true", "false"), "false"),
        ("Nein, das stimmt nicht.", ("ja", "nein"), "nein"),
        ("Das ist richtig: ja", ("ja", "nein"), "ja"),
        ("Yesterday I know", ("yes", "no"), None),
        ("maybe", ("yes", "no"), None),
        ("はい、そうです", ("はい", "いいえ"), "はい"),
        ("いいえ", ("はい", "いいえ"), "いいえ"),
        ("Да, конечно", ("да", "нет"), "да"),
        ("Não sei, mas sim", ("sim", "não"), "não"),
        ("YES!", ("yes", "no"), "yes"),
        ("Answer: Yes, since no other", ("yes", "no"), "yes"),
        ("\\boxed{No}", ("yes", "no"), "no"),
        ("Is it? No problem. Yes", ("yes", "no"), "yes"),
        ("The claim isn't false.", ("true", "false"), "true"),
    ],
)
def test_the_word_of_a_typical_answer(text, words, word):
    assert chosen_word(text, words) == word


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("There is no doubt: yes.", "no", 0),
        ("There is no doubt: yes.", "yes", 1),
        ("No, Mira does not.", "No", 1),
        ("<think>yes</think> no", "yes", 0),
        ("I know.", "no", 0),
        ("", "no", 0),
    ],
)
def test_right_and_wrong(text, gold, right):
    assert score(text, gold) == right


def test_words_of_ones_own():
    words = ["positive", "negative", "neutral"]
    assert score("The review is negative.", "Negative", words=words) == 1
    assert score("Not positive, rather neutral", "positive", words=words) == 0
    with pytest.warns(UserWarning, match="which are not among the words yes, no"):
        assert score("yes", "true") is None
