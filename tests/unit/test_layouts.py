"""Each data format a user may have becomes the columns that TRL wants."""

import pytest

from ptspec.data.layouts import evaluation_row, shape_for, to_trl
from ptspec.methods.types import Rows


def user(text):
    return [{"role": "user", "content": text}]


def assistant(text):
    return [{"role": "assistant", "content": text}]


def converted(row, rows, chat=True):
    return list(to_trl(row, rows, shape_for(rows, frozenset(row)), chat))


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
    assert (seen.chosen, seen.rejected, seen.answer) == (assistant("a"), assistant("b"), "7")
    assert evaluation_row({"prompt": "q"}).expected is None


def test_pairs_for_kto_are_not_left_side_by_side(tmp_path):
    import json
    from itertools import pairwise

    from ptspec.data.dataset import load
    from ptspec.recipe.plan import Source

    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load({"train": Source("train", (path,))}, "train", Rows.UNPAIRED_PREFERENCE, seed=1)
    prompts = [row["prompt"][0]["content"] for row in loaded]
    assert sorted(prompts) == sorted(2 * [row["prompt"] for row in rows])
    assert sum(a == b for a, b in pairwise(prompts)) < 6
