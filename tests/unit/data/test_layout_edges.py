"""Each way in which a row is read or refused, whole messages: what mutants of the layouts survived."""

import pytest

from ptspec.data.layouts.convert import Reading, label_of, preference, split_messages, to_trl
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.data.layouts.table import layout_for
from ptspec.data.layouts.turns import (
    LayoutError,
    history_of,
    message,
    messages_of,
    template_kwargs_of,
    tools_of,
)
from ptspec.methods.types import Rows

U, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


def pair(chat=True, **row):
    return preference(row, layout_for(Rows.PREFERENCE, frozenset(row)), Reading(chat))


def refusal(call, *arguments, **keywords):
    with pytest.raises(LayoutError) as raised:
        call(*arguments, **keywords)
    return raised.value.code, raised.value.message, raised.value.hint


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *((value, True) for value in (True, 1, 1.0, "true", "True", " TRUE ", "1", "1.0")),
        *((value, False) for value in (False, 0, 0.0, "false", "False", "0", "0.0")),
        *((value, None) for value in (None, 2, 0.5, "yes", "", [], "1.5")),
    ],
    ids=repr,
)
def test_labels(value, label):
    assert label_of(value) is label


def test_a_chat_is_split_before_its_last_answer():
    assert split_messages([U, A, U, OTHER]) == ([U, A, U], [OTHER])
    assert split_messages([U, A, U]) == ([U, A, U], [])
    assert split_messages([A]) == ([], [A])
    assert split_messages([]) == ([], [])


DIALOGUE = "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "good", "bad"),
    [
        (DIALOGUE + " c d", DIALOGUE + " c e", DIALOGUE, " c d", " c e"),
        (DIALOGUE + " c", DIALOGUE + "", DIALOGUE, " c", ""),
        # Other turns before the last: cut at the first word that differs.
        (
            "Human: q\n\nAssistant: a b\n\nHuman: r\n\nAssistant: c",
            "Human: q\n\nAssistant: a d\n\nHuman: r\n\nAssistant: e",
            *("Human: q\n\nAssistant: a", " b\n\nHuman: r\n\nAssistant: c", " d\n\nHuman: r\n\nAssistant: e"),
        ),
        ("The sky is blue", "The sky is  grey", "The sky is", " blue", "  grey"),
        ("The sky is blue", "The sky is", "The sky", " is blue", " is"),
        ("Say it: yes", "Say it: yesterday", "Say it:", " yes", " yesterday"),
    ],
)
def test_texts_are_split_where_they_part(chosen, rejected, prompt, good, bad):
    assert pair(chat=False, chosen=chosen, rejected=rejected) == (prompt, None, good, bad)


def test_split_texts_become_turns_where_they_are_chats():
    found = pair(chosen="The sky is blue", rejected="The sky is grey", system="Be brief.")
    assert found.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The sky is"},
    ]
    assert found.completion is None
    assert found.chosen == [{"role": "assistant", "content": "blue"}]
    assert found.rejected == [{"role": "assistant", "content": "grey"}]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "good", "bad"),
    [
        ([U, A], [U, OTHER], [U], [A], [OTHER]),
        ([U, A], [U, A], [U], [A], [A]),
        ([U, A, U, A], [U, A, U, OTHER], [U, A, U], [A], [OTHER]),
        ([U, A, U, A], [U, OTHER], [U], [A, U, A], [OTHER]),
        ([U, A, U, A], [U, OTHER, U, OTHER], [U], [A, U, A], [OTHER, U, OTHER]),
        ([U, A], [U, A, U, A], [U], [A], [A, U, A]),
    ],
)
def test_conversations_are_split_at_the_last_answer_or_where_they_part(chosen, rejected, prompt, good, bad):
    found = pair(chosen=chosen, rejected=rejected)
    assert (found.prompt, found.chosen, found.rejected) == (prompt, good, bad)


R = {"role": "user", "content": "r"}
COLUMNS = 'give a "prompt" column, or rename one: "columns": {"prompt": "its name here"}'
PART = '"chosen" and "rejected" part before {} of "{}", not before an answer'


@pytest.mark.parametrize(
    ("row", "code", "said", "hint"),
    [
        (
            {"chosen": [U, A, R], "rejected": [U, A]},
            *("role-order", '"chosen" ends with a turn of the user, not of the assistant', None),
        ),
        (
            {"chosen": [U, A], "rejected": [U, {"role": "tool", "content": "x"}]},
            *("role-order", '"rejected" ends with a turn of the tool, not of the assistant', None),
        ),
        (
            {"chosen": [U, A], "rejected": [R, A]},
            *("no-common-prompt", '"chosen" and "rejected" do not begin with the same turns', None),
        ),
        (
            {"chosen": [U, U, A], "rejected": [U, R, A]},
            *("no-common-prompt", PART.format("a turn of the user", "chosen"), None),
        ),
        (
            {"chosen": [U, A], "rejected": [U, R, A]},
            *("no-common-prompt", PART.format("a turn of the user", "rejected"), None),
        ),
        (
            {"chosen": "yes", "rejected": "no"},
            *(
                "no-common-prompt",
                '"chosen" and "rejected" do not begin with the same words: no prompt is to be seen',
                COLUMNS,
            ),
        ),
        (
            {"chosen": "yes", "rejected": [A]},
            *("wrong-type", 'of "chosen" and "rejected" one is a string, the other a list', None),
        ),
        (
            {"prompt": "p", "chosen": [U, A], "rejected": [U, OTHER]},
            *(
                "prompt-differs",
                '"prompt" does not stand in the conversation of "chosen"',
                'leave it out: "columns": {"other_prompt": "prompt"}',
            ),
        ),
        (
            {"prompt": [R], "chosen": [U, A], "rejected": [U, OTHER]},
            *(
                "prompt-differs",
                '"prompt" does not stand in the conversation of "chosen"',
                'leave it out: "columns": {"other_prompt": "prompt"}',
            ),
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "system": 5},
            *("wrong-type", '"system" must be a string', None),
        ),
        (
            {"instruction": "q", "input": 5, "chosen": "a", "rejected": "b"},
            *("wrong-type", '"input" must be a string', None),
        ),
    ],
)
def test_pairs_that_cannot_be_read(row, code, said, hint):
    assert refusal(pair, **row) == (code, said, hint)


@pytest.mark.parametrize("prompt", ["", "  ", "q", [U], "\n\nHuman: q\n\nAssistant:", []])
def test_a_prompt_beside_conversations_may_say_what_they_begin_with(prompt):
    found = pair(prompt=prompt, chosen=[U, A], rejected=[U, OTHER])
    assert (found.prompt, found.chosen, found.rejected) == ([U], [A], [OTHER])


CALL = {"name": "f", "arguments": {"x": 1}}
MADE = {"type": "function", "function": CALL}


@pytest.mark.parametrize(
    ("turn", "made"),
    [
        ({"from": "human", "value": "q"}, U),
        ({"role": "user", "content": "q", "name": "Ann"}, {**U, "name": "Ann"}),
        ({"from": "critic", "value": "x"}, {"role": "critic", "content": "x"}),
        ({"role": None, "from": "gpt", "value": "a"}, A),
        (
            {"role": "user", "content": [{"type": "text", "text": "q"}, "r", {"text": "s"}]},
            {"role": "user", "content": "qrs"},
        ),
        (
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"role": "assistant", "content": "", "tool_calls": [MADE]},
        ),
        (
            {"role": "function_call", "content": [CALL, CALL]},
            {"role": "assistant", "content": "", "tool_calls": [MADE, MADE]},
        ),
        (
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": '{"x": 1}'}},
            {"role": "assistant", "content": "", "tool_calls": [MADE]},
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": '[{"id": "7", "function": {"name": "f"}}]'},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "id": "7", "function": {"name": "f"}}],
            },
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": {"name": "f", "arguments": "no JSON"}},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "no JSON"}}],
            },
        ),
        ({"role": "assistant", "content": "a", "tool_calls": []}, {**A, "tool_calls": []}),
    ],
)
def test_turns(turn, made):
    assert message("messages", turn) == made


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("text", "wrong-type", '"m" must be a list of messages'),
        (5, "wrong-type", '"m" must be a list of messages'),
        (["text"], "wrong-type", 'a message of "m" is not an object with "role" and "content"'),
        ([{"content": "x"}], "wrong-type", 'a message of "m" has no "role" (or "from")'),
        ([{"role": 5, "content": "x"}], "wrong-type", 'a message of "m" has no "role" (or "from")'),
        (
            [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            *(
                "unsupported-media",
                'a message of "m" holds a part of the type "image": only text is supported',
            ),
        ),
        (
            [{"role": "user", "content": [{"type": "image", "text": "x"}]}],
            *(
                "unsupported-media",
                'a message of "m" holds a part of the type "image": only text is supported',
            ),
        ),
        (
            [{"role": "user", "content": [{"url": "x"}]}],
            *(
                "unsupported-media",
                'a message of "m" holds a part of the type "unknown": only text is supported',
            ),
        ),
        (
            [{"role": "user", "content": [5]}],
            "unsupported-media",
            'a message of "m" holds a part of the type "int": only text is supported',
        ),
        (
            [{"from": "function_call", "value": "no JSON"}],
            *(
                "wrong-type",
                'a function_call of "m" is not the JSON of a call: {"name": …, "arguments": {…}}',
            ),
        ),
        (
            [{"from": "function_call", "value": "[]"}],
            *(
                "wrong-type",
                'a function_call of "m" is not the JSON of a call: {"name": …, "arguments": {…}}',
            ),
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": "no JSON"}],
            *("wrong-type", '"tool_calls" of a message of "m" must be a list of calls'),
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {}}}]}],
            *("wrong-type", 'a tool call of "m" has no "name"'),
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": ["f"]}],
            *("wrong-type", 'a tool call of "m" has no "name"'),
        ),
        (
            [{"role": "assistant", "content": "", "function_call": {"name": 5}}],
            *("wrong-type", 'a tool call of "m" has no "name"'),
        ),
    ],
)
def test_turns_that_cannot_be_read(value, code, said):
    assert refusal(messages_of, "m", value) == (code, said, None)


FUNCTION = {"name": "f", "parameters": {}}


@pytest.mark.parametrize(
    ("value", "tools"),
    [
        *((value, None) for value in (None, "", "  ", "[]", "null", [], {})),
        ([FUNCTION], [{"type": "function", "function": FUNCTION}]),
        ({"type": "function", **FUNCTION}, [{"type": "function", "function": FUNCTION}]),
        (
            '[{"type": "function", "function": {"name": "f"}}]',
            [{"type": "function", "function": {"name": "f"}}],
        ),
        ([{"type": "retrieval", "name": "x"}], [{"type": "retrieval", "name": "x"}]),
    ],
    ids=repr,
)
def test_tools(value, tools):
    assert tools_of(value) == tools


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        *((value, []) for value in (None, "", "  ", "[]", [])),
        ([["q", "a"]], [U, A]),
        ('[["q", "a"], ["q", "b"]]', [U, A, U, OTHER]),
        ([U, {"from": "gpt", "value": "a"}], [U, A]),
    ],
    ids=repr,
)
def test_history(value, turns):
    assert history_of(value) == turns


PAIRS = '"history" must be a list of pairs [question, answer]'


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (tools_of, "x{", '"tools" is no JSON'),
        (tools_of, 5, '"tools" must be a list of JSON schemas'),
        (tools_of, ["f"], '"tools" must be a list of JSON schemas'),
        (history_of, "x{", '"history" is no JSON'),
        (history_of, {"q": "a"}, PAIRS),
        (history_of, [["q"]], PAIRS),
        (history_of, [["q", 5]], PAIRS),
        (history_of, ["qa"], PAIRS),
        (history_of, [{"content": "x"}], PAIRS),
        (template_kwargs_of, "x{", '"chat_template_kwargs" is no JSON'),
        (template_kwargs_of, "[1]", '"chat_template_kwargs" must be an object'),
    ],
)
def test_columns_for_the_template_that_cannot_be_read(read, value, said):
    assert refusal(read, value) == ("wrong-type", said, None)


def test_a_role_of_the_history_is_told_by_its_column():
    assert refusal(history_of, [{"role": 5}])[1] == 'a message of "history" has no "role" (or "from")'


@pytest.mark.parametrize(
    ("value", "kwargs"), [(None, {}), ("", {}), ("{}", {}), ('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1})]
)
def test_template_arguments(value, kwargs):
    assert template_kwargs_of(value) == kwargs


@pytest.mark.parametrize(
    ("row", "rendered"),
    [
        ({"prompt": "q"}, [{"prompt": [U]}]),
        ({"prompt": "q", "completion": "a"}, [{"prompt": [U], "completion": [A]}]),
        ({"text": "t"}, [{"prompt": None, "completion": "t"}]),
        ({"messages": [U]}, [{"prompt": [U]}]),
        (
            {"chosen": [U, A], "rejected": [U, OTHER], "tools": [FUNCTION]},
            [
                {"prompt": [U], "tools": [{"type": "function", "function": FUNCTION}]},
                {
                    "prompt": [U],
                    "chosen": [A],
                    "rejected": [OTHER],
                    "tools": [{"type": "function", "function": FUNCTION}],
                },
            ],
        ),
    ],
)
def test_what_the_template_renders_of_a_held_out_row(row, rendered):
    assert list(evaluation_row(row).in_trl_columns()) == rendered


@pytest.mark.parametrize(
    ("answer", "text"),
    [(None, None), ("ä", "ä"), (5, "5"), (["ä", 1], '["ä", 1]'), ({"a": None}, '{"a": null}')],
)
def test_a_right_answer_as_text(answer, text):
    assert evaluation_row({"prompt": "q", "answer": answer}).answer == text


def test_template_arguments_go_to_chats_alone():
    row = {"prompt": "q", "completion": "a", "chat_template_kwargs": {"x": 1}}
    layout = layout_for(Rows.PROMPT_COMPLETION, frozenset(row))
    assert list(to_trl(row, Rows.PROMPT_COMPLETION, layout)) == [
        {"prompt": [U], "completion": [A], "chat_template_kwargs": {"x": 1}}
    ]
    assert list(to_trl(row, Rows.PROMPT_COMPLETION, layout, Reading(False))) == [
        {"prompt": "q", "completion": "a"}
    ]
