"""Each data format a user may have becomes the columns that TRL wants."""

import json
import re

import pytest

from ptspec.data.checks.row_checks import Use, row_checker
from ptspec.data.layouts.convert import Reading, to_trl, unpadded
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.data.layouts.table import layout_for
from ptspec.data.layouts.turns import LayoutError
from ptspec.methods.types import Rows


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


def converted(row, rows, chat=True):
    return list(to_trl(row, rows, layout_for(rows, frozenset(row)), Reading(chat)))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "q", "output": "a"}, {"prompt": user("q"), "completion": assistant("a")}),
        (
            {"instruction": "q", "input": "x", "output": "a"},
            {"prompt": user("q\n\nx"), "completion": assistant("a")},
        ),
        ({"prompt": "q", "completion": "a"}, {"prompt": user("q"), "completion": assistant("a")}),
        ({"messages": user("q") + assistant("a")}, {"messages": user("q") + assistant("a")}),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            {"messages": user("q") + assistant("a")},
        ),
        ({"text": "t"}, {"text": "t"}),
    ],
)
def test_sft_rows(row, expected):
    assert converted(row, Rows.PROMPT_COMPLETION) == [expected]


def test_strings_stay_strings_without_chat():
    row = {"prompt": "q", "completion": "a"}
    assert converted(row, Rows.PROMPT_COMPLETION, chat=False) == [row]


def test_preference_rows_with_and_without_a_prompt():
    pair = {"prompt": user("q"), "chosen": assistant("a"), "rejected": assistant("b")}
    assert converted({"prompt": "q", "chosen": "a", "rejected": "b"}, Rows.PREFERENCE) == [pair]
    whole = {"chosen": user("q") + assistant("a"), "rejected": user("q") + assistant("b")}
    assert converted(whole, Rows.PREFERENCE) == [pair]


def test_kto_takes_labels_or_unpairs_pairs():
    labelled = {"prompt": "q", "completion": "a", "label": False}
    assert [row["label"] for row in converted(labelled, Rows.UNPAIRED_PREFERENCE)] == [False]
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert [(row["completion"], row["label"]) for row in converted(pair, Rows.UNPAIRED_PREFERENCE)] == [
        (assistant("a"), True),
        (assistant("b"), False),
    ]


def test_a_row_with_the_columns_of_several_formats_gives_each_method_its_own():
    row = {
        "instruction": "q",
        "output": "demonstration",
        "prompt": "q",
        "chosen": "a",
        "rejected": "b",
        "completion": "b",
        "label": False,
    }
    assert converted(row, Rows.PROMPT_COMPLETION)[0]["completion"] == assistant("demonstration")
    assert converted(row, Rows.PREFERENCE)[0]["chosen"] == assistant("a")
    assert len(converted(row, Rows.UNPAIRED_PREFERENCE)) == 1


def test_what_evaluation_sees_of_a_row():
    row = {"instruction": "q", "output": "a b", "prompt": "q", "chosen": "a", "rejected": "b", "answer": 7}
    seen = evaluation_row(row)
    assert (seen.prompt, seen.expected) == (user("q"), assistant("a b"))
    assert (seen.pair.chosen, seen.pair.rejected, seen.answer) == (assistant("a"), assistant("b"), "7")
    assert evaluation_row({"prompt": "q"}).expected is None


SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
SYSTEM = [{"role": "system", "content": "s"}]
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
WRAPPED = {"type": "function", "function": TOOL}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"prompt": "q", "completion": "a", "system": "s"},
            {"prompt": SYSTEM + user("q"), "completion": assistant("a")},
        ),
        (
            {"instruction": "q", "output": "a", "system": "s", "history": [["x", "y"]]},
            {"prompt": SYSTEM + user("x") + assistant("y") + user("q"), "completion": assistant("a")},
        ),
        ({"conversations": SHAREGPT, "system": "s"}, {"messages": SYSTEM + user("q") + assistant("a")}),
        (
            {"messages": SYSTEM + user("q") + assistant("a"), "system": "s"},
            {"messages": SYSTEM + user("q") + assistant("a")},
        ),
        ({"messages": user("q") + assistant("a"), "system": ""}, {"messages": user("q") + assistant("a")}),
        (
            {"conversations": SHAREGPT, "tools": json.dumps([TOOL])},
            {"messages": user("q") + assistant("a"), "tools": [WRAPPED]},
        ),
        (
            {
                "prompt": "q",
                "completion": "a",
                "tools": [WRAPPED],
                "chat_template_kwargs": {"enable_thinking": False},
            },
            {
                "prompt": user("q"),
                "completion": assistant("a"),
                "tools": [WRAPPED],
                "chat_template_kwargs": {"enable_thinking": False},
            },
        ),
        ({"messages": SHAREGPT, "tools": "[]"}, {"messages": user("q") + assistant("a")}),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "!"}],
                    },
                    *assistant("a"),
                ]
            },
            {"messages": user("q!") + assistant("a")},
        ),
    ],
)
def test_what_has_a_meaning_gets_to_the_template(row, expected):
    assert converted(row, Rows.PROMPT_COMPLETION) == [expected]


def call(name, **arguments):
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def test_calls_in_sharegpt_become_tool_calls():
    turns = [
        SHAREGPT[0],
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "4"},
        SHAREGPT[1],
    ]
    made = converted({"conversations": turns}, Rows.PROMPT_COMPLETION)[0]["messages"]
    assert made == [*user("q"), call("f", x=1), {"role": "tool", "content": "4"}, *assistant("a")]


def test_arguments_as_text_become_the_object_that_templates_expect():
    given = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"x": [1, null]}'}}],
    }
    made = converted({"messages": [*user("q"), given]}, Rows.PROMPT_COMPLETION)[0]["messages"][1]
    assert made["tool_calls"] == [
        {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"x": [1, None]}}}
    ]


PAIR = {"prompt": user("q"), "chosen": assistant("a"), "rejected": assistant("b")}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": user("q") + assistant("a"), "rejected": user("q") + assistant("b")},
        {"prompt": user("q"), "chosen": user("q") + assistant("a"), "rejected": user("q") + assistant("b")},
        {
            "conversations": SHAREGPT[:1],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        {"messages": user("q"), "chosen": "a", "rejected": "b"},
        {
            "messages": user("q") + assistant("a"),
            "chosen": user("q") + assistant("a"),
            "rejected": user("q") + assistant("b"),
        },
        {"prompt": SHAREGPT[:1], "chosen": [SHAREGPT[1]], "rejected": [{"from": "gpt", "value": "b"}]},
        {"chosen": SHAREGPT, "rejected": [SHAREGPT[0], {"from": "gpt", "value": "b"}]},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {
            "prompt": "q",
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        {
            "prompt": "\n\nHuman: q\n\nAssistant:",
            "chosen": "Human: q\n\nAssistant: a",
            "rejected": "Human: q\n\nAssistant: b",
        },
    ],
    ids=lambda row: " + ".join(row),
)
def test_pairs_in_every_layout_that_people_have(row):
    assert converted(row, Rows.PREFERENCE) == [PAIR]
    halves = converted(row, Rows.UNPAIRED_PREFERENCE)
    assert [(half["prompt"], half["completion"], half["label"]) for half in halves] == [
        (user("q"), assistant("a"), True),
        (user("q"), assistant("b"), False),
    ]


def test_the_prompt_ends_at_the_last_turn_of_the_assistant():
    before = user("q") + assistant("a") + user("r")
    row = {"prompt": "q", "chosen": before + assistant("b"), "rejected": before + assistant("c")}
    assert converted(row, Rows.PREFERENCE) == [
        {"prompt": before, "chosen": assistant("b"), "rejected": assistant("c")}
    ]


def test_conversations_that_part_earlier_part_before_a_turn_of_the_assistant():
    row = {
        "chosen": user("q") + assistant("a") + user("r") + assistant("b"),
        "rejected": user("q") + assistant("c"),
    }
    made = converted(row, Rows.PREFERENCE)[0]
    assert made == {"prompt": user("q"), "chosen": row["chosen"][1:], "rejected": assistant("c")}
    row["rejected"] = user("another") + assistant("c")
    with pytest.raises(LayoutError, match="do not begin with the same turns"):
        converted(row, Rows.PREFERENCE)


def test_dialogues_as_strings_have_several_turns_and_no_answer_is_cut_in_a_word():
    opening = "\n\nHuman: q\n\nAssistant: a: b\n\nHuman: r"
    row = {"chosen": f"{opening}\n\nAssistant: Then", "rejected": f"{opening}\n\nAssistant: The"}
    before = user("q") + assistant("a: b") + user("r")
    assert converted(row, Rows.PREFERENCE) == [
        {"prompt": before, "chosen": assistant("Then"), "rejected": assistant("The")}
    ]
    plain = converted(row, Rows.PREFERENCE, chat=False)[0]
    assert plain == {"prompt": f"{opening}\n\nAssistant:", "chosen": " Then", "rejected": " The"}


def test_texts_that_begin_alike_are_cut_at_a_word_as_trl_cuts_at_the_space_before_it():
    row = {"chosen": "Q: x A: seven", "rejected": "Q: x A: six"}
    plain = converted(row, Rows.PREFERENCE, chat=False)[0]
    assert plain == {"prompt": "Q: x A:", "chosen": " seven", "rejected": " six"}
    with pytest.raises(LayoutError, match="no prompt is to be seen"):
        converted({"chosen": "yes", "rejected": "no"}, Rows.PREFERENCE)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "chosen": user("q") + assistant("a"), "rejected": user("q") + assistant("b")},
        {"prompt": "p", "chosen": "Human: q\n\nAssistant: a", "rejected": "Human: q\n\nAssistant: b"},
        {
            "prompt": "\n\nHuman: p\n\nAssistant:",
            "chosen": "Human: q\n\nAssistant: a",
            "rejected": "Human: q\n\nAssistant: b",
        },
    ],
)
def test_a_prompt_beside_conversations_that_do_not_hold_it_is_an_error(row):
    with pytest.raises(LayoutError, match='"prompt" does not stand in the conversation'):
        converted(row, Rows.PREFERENCE)
    checker = row_checker(Use("dpo", Rows.PREFERENCE), frozenset(row))
    assert [fault.code for fault in checker(row)] == ["prompt-differs"]


def test_a_prompt_beside_answers_that_only_begin_like_a_dialogue():
    row = {"prompt": "p", "chosen": "Human: a word of five letters", "rejected": "Human: no"}
    (made,) = converted(row, Rows.PREFERENCE, chat=False)
    assert made == row


@pytest.mark.parametrize("label", [False, 0, 0.0, "false", "0"])
def test_labelled_conversations(label):
    row = {"messages": user("q") + assistant("a"), "label": label}
    assert converted(row, Rows.UNPAIRED_PREFERENCE) == [
        {"prompt": user("q"), "completion": assistant("a"), "label": False}
    ]


def test_a_source_gives_a_system_prompt_to_rows_without_one():
    def read(row):
        return list(
            to_trl(row, Rows.PROMPT_ONLY, layout_for(Rows.PROMPT_ONLY, frozenset(row)), Reading(system="s"))
        )

    assert read({"prompt": "q"}) == [{"prompt": SYSTEM + user("q")}]
    own = [{"role": "system", "content": "own"}, *user("q")]
    assert read({"prompt": own}) == [{"prompt": own}]
    assert read({"prompt": "q", "system": "own"}) == [{"prompt": own}]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": SYSTEM + user("q") + assistant("a"), "system": "t"}, "differs from the system turn"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            'a part of the type "image_url"',
        ),
        ({"conversations": [{"from": "function_call", "value": "f(x)"}]}, "not the JSON of a call"),
        ({"messages": user("q") + assistant("a"), "tools": "[{"}, '"tools" is no JSON'),
        ({"prompt": "q", "completion": "a", "history": ["x"]}, "pairs"),
        ({"instruction": "q", "input": {"a": 1}, "output": "a"}, '"input" must be a string'),
        ({"prompt": "q", "completion": "a", "history": "before"}, '"history" is no JSON'),
        ({"messages": user("q") + assistant("a"), "chat_template_kwargs": "{"}, 'kwargs" is no JSON'),
    ],
)
def test_what_cannot_be_read_is_an_error_with_words(row, words):
    with pytest.raises(LayoutError, match=re.escape(words)):
        converted(row, Rows.PROMPT_COMPLETION)


def test_padding_of_arrow_goes_from_chats_and_stays_in_other_columns():
    row = {"messages": [{"role": "user", "content": "q", "tool_calls": None}], "kwargs": [{"n": None}]}
    assert unpadded(row) == {"messages": user("q"), "kwargs": [{"n": None}]}


def test_pairs_for_kto_are_not_left_side_by_side(tmp_path):
    import json
    from itertools import pairwise

    from ptspec.data.dataset import load
    from ptspec.recipe.sources import Source

    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load({"train": Source("train", (path,))}, "train", Rows.UNPAIRED_PREFERENCE, seed=1)
    prompts = [row["prompt"][0]["content"] for row in loaded]
    assert sorted(prompts) == sorted(2 * [row["prompt"] for row in rows])
    assert sum(a == b for a, b in pairwise(prompts)) < 6
