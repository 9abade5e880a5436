"""Which responses are right: by the look of the answers, by a reward that is named, by tool calls."""

from dataclasses import replace

import pytest

from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.diagnostics import InputError
from ptspec.evaluation.accuracy import readable_calls, scorer_of
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.generation import Response
from ptspec.evaluation.measure import measure
from ptspec.evaluation.measurement import accuracy_label
from ptspec.evaluation.paired.differences import Pair
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.choose_scorer import choose
from ptspec.rewards.thoughts import without_thoughts
from ptspec.rewards.tool_calls import is_text_alone


def named(function, **options):
    return RewardSpec("accuracy", function, options=options, at="/eval/accuracy")


def correct(text, answer, asked=None, **columns):
    row = evaluation_row({"prompt": "q", "answer": answer, **columns})
    scorer = scorer_of(asked, [row])
    said = Response(text, (1,), True, without_thoughts(text))
    return scorer and scorer.correct([row], {0: said}, frozenset())[0]


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("That is a hard question; I would say C.", "A", False),
        ("I think it is B, not A.", "A", False),
        ("<think>maybe 7?</think> It is 9.", "7", False),
        ("There is no doubt: yes.", "no", False),
        ("That is a hard question; I would say C.", "C", True),
        ("<think>maybe 9?</think> It is 7.", "7", True),
        ("<think>It is 7. Let me", "7", False),
        ("It is 7 apples and 5 pears, so 12.", "7", False),
        ("There is no doubt: yes.", "yes", True),
        ("Mira lives in Tarn.", "Tarn", True),
        ("<think>Tarn?</think> In Rome.", "Tarn", False),
        ("$5.00", 5, True),
        ('{"town": "Tarn"}', {"town": "Tarn"}, True),
        ("It is Tarn.", ["Tarn", "Tarnhold"], True),
    ],
)
def test_right_and_wrong_without_a_word_in_the_recipe(text, answer, right):
    assert correct(text, answer) is right


@pytest.mark.parametrize(
    ("answers", "function", "why"),
    [
        (["A", "b", "(C)"], "choice_letter", "all 3 right answers are single letters"),
        (["yes", "No"], "choice_word", "all 2 right answers are yes or no"),
        (["ja", "nein"], "choice_word", "all 2 right answers are ja or nein"),
        (["true", "no"], "choice_word", "all 2 right answers are yes or no or true or false"),
        (["1", 2.5, "$3"], "numeric_answer", "all 3 right answers are numbers"),
        (["He has 2. #### 2"], "numeric_answer", "the right answer is numbers"),
        ([r"\frac{1}{2}", "3"], "math_answer", "all 2 right answers are numbers or expressions"),
        (['{"a": 1}', {"a": 2}], "json_answer", "all 2 right answers are JSON"),
        (["Tarn", "A"], "contains_answer", "all 2 right answers are short texts"),
        (["Tarn"] * 19 + ["long " * 30], "contains_answer", "nearly all 20 right answers are short texts"),
        (["long " * 30, "Tarn"], "exact_match", "the right answers are long texts (1 of 2)"),
    ],
)
def test_the_reward_is_chosen_by_the_look_of_all_answers(answers, function, why):
    choice = choose(answers)
    assert (choice.function, choice.why) == (function, why)


def test_a_reward_that_is_named_is_taken():
    assert correct("In Tarn.", "Tarn", named("exact_match")) is False
    assert correct("Tarn.", "Tarn", named("exact_match")) is True
    assert correct("Tarn.", "Rome", named("exact_match", column="town"), town="Tarn") is True
    assert correct(r"so \boxed{1/2}", "0.5", named("accuracy_reward")) is True
    assert correct(r"<think>\boxed{1}</think> \boxed{1/2}", "0.5", named("accuracy_reward")) is True
    assert correct("<think>a</think>b", None, named("think_format_reward")) is True
    assert correct("<think>a</think>42", None, named("regex", pattern=r"\d+")) is True


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match="not a regular expression"):
        scorer_of(named("regex", pattern="("), [])


def test_without_an_answer_and_without_a_reward_there_is_no_accuracy(model, tokenizer, spec):
    rows = [evaluation_row({"prompt": "q", "completion": "word " * 60})]
    result = measure(model, tokenizer, rows, spec, seed=1)
    assert not {"accuracy", "sampled_accuracy"} & result.metrics.keys()
    assert result.rows[0].correct is None and result.settings.accuracy is None
    named_one = replace(spec, accuracy=named("exact_match"))
    result = measure(model, tokenizer, rows, named_one, seed=1)
    assert result.metrics["accuracy"].value == 0
    assert result.settings.accuracy_in_words == "exact_match: named in eval.accuracy"
    assert accuracy_label("accuracy", [result.settings]) == "accuracy (exact match)"


def test_what_was_chosen_is_stored_and_told(model, tokenizer, rows, spec):
    result = measure(model, tokenizer, rows, spec, seed=1)
    assert result.settings.accuracy_in_words == "contains_answer: all 10 right answers are short texts"


def test_right_answers_that_cannot_be_compared_are_told_with_a_count(model, tokenizer, spec):
    rows = [evaluation_row({"prompt": str(n), "answer": answer}) for n, answer in enumerate(["7", "x", "y"])]
    told = []
    asked = replace(spec, accuracy=named("numeric_answer"))
    result = measure(model, tokenizer, rows, asked, seed=1, warn=told.append)
    assert told == [
        "accuracy: the reward numeric_answer cannot score 2 of 3 right answers, which hold no number "
        '(the first: "x")'
    ]
    assert [row.correct is None for row in result.rows] == [False, True, True]


CALLING = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Tarn", "days": 2}}}


def calling_row(**message):
    answer = {"role": "assistant", "content": "", "tool_calls": [CALL], **message}
    return {"messages": [{"role": "user", "content": "Will it rain in Tarn?"}, answer]}


@pytest.fixture
def calling(tokenizer):
    before, tokenizer.chat_template = tokenizer.chat_template, CALLING
    yield tokenizer
    tokenizer.chat_template = before


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('<tool_call>{"name": "weather", "arguments": {"days": 2, "town": "Tarn"}}</tool_call>', True),
        ('<tool_call>{"name": "weather", "arguments": {"days": 3, "town": "Tarn"}}</tool_call>', False),
        ('<tool_call>{"name": "wind", "arguments": {"days": 2, "town": "Tarn"}}</tool_call>', False),
        ('[{"name": "weather", "parameters": {"days": 2, "town": "Tarn"}}]', True),
        ("It will rain.", False),
        ("", False),
    ],
)
def test_tool_calls_are_compared(calling, text, right):
    rows = [evaluation_row(calling_row())]
    scorer = scorer_of(None, rows)
    assert scorer.name == "tool calls"
    readable = readable_calls(calling, rows)
    assert readable == {0}
    assert scorer.correct(rows, {0: Response(text, (1,), True, text)}, readable) == {0: right}


def test_calls_that_the_template_writes_in_a_form_of_its_own_have_no_accuracy(tokenizer):
    rows = [evaluation_row(calling_row())]
    assert readable_calls(tokenizer, rows) == frozenset()  # this template leaves the calls out
    said = Response("x", (1,), True, "x")
    assert scorer_of(None, rows).correct(rows, {0: said}, frozenset()) == {0: None}


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_an_answer_with_thoughts_beside_its_text_is_not_that_text_alone(name):
    def row(**more):
        return [{"role": "assistant", "content": "9", **more}]

    assert not is_text_alone(row(**{name: "3 times 3"}))
    assert is_text_alone(row(**{name: None}))


def test_tool_calls_are_out_of_bits_per_byte(model, calling, spec):
    text = {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "In Tarn."}]}
    rows = [evaluation_row(one) for one in (calling_row(), text, calling_row(content="I look."))]
    result = measure(model, calling, rows, replace(spec, max_new_tokens=4), seed=1)
    assert [row.bytes for row in result.rows] == [None, 8, None]
    alone = aggregates([result.rows[1]], seed=1)["bits_per_byte"].value
    assert result.metrics["bits_per_byte"].value == alone
    pair = Pair.of(result.rows, result.rows)
    assert pair.difference("bits_per_byte").value_a == pytest.approx(alone)
    assert result.metrics["loss"].value == pytest.approx(
        sum(row.nll for row in result.rows) / sum(row.tokens for row in result.rows)
    )
