"""What a row is: from the columns a file has to the columns TRL wants.

Torch-free. Strings become turns of a chat (`chat=True`) or stay strings; rewards and judges always get
the strings. TRL's names for the results: prompt-completion, preference, unpaired preference, prompt-only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.methods.types import Rows

Row = Mapping[str, Any]
Text = Any
"""A string, or a list of messages ({"role": …, "content": …})."""

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "function_call": "assistant",
    "observation": "tool",
}


@dataclass(frozen=True)
class Shape:
    """A set of columns that can serve a method; the first of `SHAPES` whose columns are there is taken."""

    columns: tuple[str, ...]

    def fits(self, present: frozenset[str]) -> bool:
        return present.issuperset(self.columns)


SHAPES: dict[Rows, tuple[Shape, ...]] = {
    Rows.PROMPT_COMPLETION: (
        Shape(("messages",)),
        Shape(("conversations",)),
        Shape(("instruction", "output")),
        Shape(("prompt", "completion")),
        Shape(("text",)),
    ),
    Rows.PREFERENCE: (
        Shape(("prompt", "chosen", "rejected")),
        Shape(("chosen", "rejected")),
    ),
    Rows.UNPAIRED_PREFERENCE: (
        Shape(("prompt", "completion", "label")),
        Shape(("prompt", "chosen", "rejected")),
        Shape(("chosen", "rejected")),
    ),
    Rows.PROMPT_ONLY: (
        Shape(("prompt",)),
        Shape(("messages",)),
        Shape(("conversations",)),
        Shape(("instruction",)),
    ),
}


def shape_for(rows: Rows, present: frozenset[str]) -> Shape | None:
    """The shape that columns `present` offer for a method that needs `rows`, or None."""
    return next((shape for shape in SHAPES[rows] if shape.fits(present)), None)


def wanted(rows: Rows) -> str:
    """The shapes that would do, in words: "prompt, chosen, rejected, or chosen, rejected"."""
    return ", or ".join(" + ".join(shape.columns) for shape in SHAPES[rows])


def label_of(value: Any) -> bool | None:
    """KTO's label as a boolean; None where it is none. CSV holds text only."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if value in (0, 1) and isinstance(value, bool | int) else None


def user_turn(text: Text, chat: bool) -> Text:
    return [{"role": "user", "content": text}] if chat and isinstance(text, str) else text


def assistant_turn(text: Text, chat: bool) -> Text:
    return [{"role": "assistant", "content": text}] if chat and isinstance(text, str) else text


def instruction_prompt(row: Row) -> str:
    """An Alpaca row's prompt: the instruction, and the input below it where there is one."""
    given = row.get("input")
    return f"{row['instruction']}\n\n{given}" if given else str(row["instruction"])


def sharegpt_messages(conversations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """ShareGPT turns (from/value) as messages (role/content); turns that are messages already stay."""
    return [
        turn
        if "role" in turn
        else {"role": SHAREGPT_ROLES.get(turn["from"], turn["from"]), "content": turn["value"]}
        for turn in conversations
    ]


def split_messages(
    messages: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything before the last assistant turn, and that turn; the second is empty where there is none."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], messages[-1:]
    return messages, []


def common_prefix(chosen: list[Any], rejected: list[Any]) -> int:
    """How many leading turns two conversations share (TRL's implicit prompt)."""
    shared = 0
    for a, b in zip(chosen, rejected, strict=False):
        if a != b:
            break
        shared += 1
    return min(shared, len(chosen) - 1, len(rejected) - 1)


def to_trl(row: Row, rows: Rows, shape: Shape, chat: bool = True) -> Iterator[dict[str, Any]]:
    """The TRL row or rows (a pair gives two unpaired ones) that `row` stands for.

    `shape` is that of the whole source (`shape_for` on its columns): a row that lacks a column of it is
    a fault of the data (`KeyError`), never a reason to read the row in another way.
    """
    match rows:
        case Rows.PROMPT_COMPLETION:
            yield _prompt_completion(row, shape, chat)
        case Rows.PREFERENCE:
            yield _preference(row, shape, chat)
        case Rows.UNPAIRED_PREFERENCE:
            yield from _unpaired(row, shape, chat)
        case Rows.PROMPT_ONLY:
            yield {"prompt": _prompt(row, shape, chat)}


def _prompt_completion(row: Row, shape: Shape, chat: bool) -> dict[str, Any]:
    if shape.columns == ("text",):
        return {"text": row["text"]}
    if shape.columns == ("messages",):
        tools = {"tools": row["tools"]} if row.get("tools") else {}
        return {"messages": row["messages"], **tools}
    if shape.columns == ("conversations",):
        return {"messages": sharegpt_messages(row["conversations"])}
    if shape.columns == ("instruction", "output"):
        return {
            "prompt": user_turn(instruction_prompt(row), chat),
            "completion": assistant_turn(row["output"], chat),
        }
    return {
        "prompt": user_turn(row["prompt"], chat),
        "completion": assistant_turn(row["completion"], chat),
    }


def _preference(row: Row, shape: Shape, chat: bool) -> dict[str, Any]:
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" in shape.columns:
        return {
            "prompt": user_turn(row["prompt"], chat),
            "chosen": assistant_turn(chosen, chat),
            "rejected": assistant_turn(rejected, chat),
        }
    shared = common_prefix(chosen, rejected)
    return {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _unpaired(row: Row, shape: Shape, chat: bool) -> Iterator[dict[str, Any]]:
    if "label" in shape.columns:
        yield {
            "prompt": user_turn(row["prompt"], chat),
            "completion": assistant_turn(row["completion"], chat),
            "label": label_of(row["label"]),
        }
        return
    pair = _preference(row, shape, chat)
    yield {"prompt": pair["prompt"], "completion": pair["chosen"], "label": True}
    yield {"prompt": pair["prompt"], "completion": pair["rejected"], "label": False}


def _prompt(row: Row, shape: Shape, chat: bool) -> Text:
    if shape.columns == ("messages",):
        return split_messages(row["messages"])[0]
    if shape.columns == ("conversations",):
        return split_messages(sharegpt_messages(row["conversations"]))[0]
    if shape.columns == ("instruction",):
        return user_turn(instruction_prompt(row), chat)
    return user_turn(row["prompt"], chat)


@dataclass(frozen=True)
class EvaluationRow:
    """A held-out row as evaluation sees it; what its columns do not offer is None.

    `prompt`, `expected`, `chosen`, `rejected` are messages or strings as the model will see them;
    `answer` is the short right answer; `columns` the row as it stands in the file, for rewards.
    """

    prompt: Text | None
    expected: Text | None
    chosen: Text | None
    rejected: Text | None
    answer: str | None
    columns: Row


def evaluation_row(row: Row, chat: bool = True) -> EvaluationRow:
    """What `row` offers to an evaluation."""
    present = frozenset(name for name, value in row.items() if value is not None)
    prompt = expected = chosen = rejected = None
    if shape := shape_for(Rows.PREFERENCE, present):
        pair = _preference(row, shape, chat)
        prompt, chosen, rejected = pair["prompt"], pair["chosen"], pair["rejected"]
    if shape := shape_for(Rows.PROMPT_COMPLETION, present):
        given = _prompt_completion(row, shape, chat)
        if "messages" in given:
            prompt, expected = split_messages(given["messages"])
        elif "text" in given:
            expected = given["text"]
        else:
            prompt, expected = given["prompt"], given["completion"]
    elif prompt is None and (shape := shape_for(Rows.PROMPT_ONLY, present)):
        prompt = _prompt(row, shape, chat)
    answer = row.get("answer")
    return EvaluationRow(
        prompt=prompt,
        expected=expected or None,
        chosen=chosen,
        rejected=rejected,
        answer=None if answer is None else str(answer),
        columns=row,
    )
