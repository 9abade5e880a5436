"""Convert a row of any layout to TRL's columns.

Strings become chat turns (`chat`) or stay strings; if one text of a row is a list of messages, all become
lists. `system`, `history`, `tools` and `chat_template_kwargs` apply to every chat layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ptspec.data.layouts.pairs import (
    is_dialogue,
    is_whole_dialogue,
    split_conversations,
    split_dialogues,
    split_strings,
    turns_of_dialogue,
)
from ptspec.data.layouts.table import CHATS, CONTEXT, TEMPLATE, Layout
from ptspec.data.layouts.turns import (
    HEADS,
    LayoutError,
    Message,
    Text,
    history_of,
    is_turn,
    messages_of,
    template_kwargs_of,
    tools_of,
    without_padding,
)
from ptspec.methods.types import Rows
from ptspec.recipe.sources import Source

Row = Mapping[str, Any]

PADDED = (*CHATS, *CONTEXT, "prompt", "completion", "chosen", "rejected")
"""Chat columns in which a null key added by Arrow means nothing."""


class Reading(NamedTuple):
    """How the rows of a source are read.

    `chat` turns strings into chats, `system` is the default system prompt.
    """

    chat: bool = True
    system: str | None = None


def reading_of(source: Source) -> Reading:
    """Return how the rows of `source` are read."""
    return Reading(source.chat, source.system)


@dataclass(frozen=True)
class Context:
    """Arguments of the chat template besides the messages."""

    tools: list[Any] | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """Return them as TRL's columns, without empty ones."""
        found: dict[str, Any] = {"tools": self.tools} if self.tools else {}
        return found | ({"chat_template_kwargs": dict(self.template_kwargs)} if self.template_kwargs else {})


NO_CONTEXT = Context()


class Exchange(NamedTuple):
    """A prompt with its answers, as the model sees them: `completion`, or `chosen` and `rejected`."""

    prompt: Text
    completion: Text = None
    chosen: Text = None
    rejected: Text = None


def unpadded(row: Row) -> dict[str, Any]:
    """Return a row without the null keys that Arrow added to the structs of its chats."""
    return {name: without_padding(value) if name in PADDED else value for name, value in row.items()}


def context_of(row: Row) -> Context:
    """Return the row's tools and template arguments. Raises `LayoutError`."""
    if not any(name in row for name in TEMPLATE):
        return NO_CONTEXT
    return Context(tools_of(row.get("tools")), template_kwargs_of(row.get("chat_template_kwargs")))


def to_trl(row: Row, rows: Rows, layout: Layout, reading: Reading = Reading()) -> Iterator[dict[str, Any]]:
    """Yield the TRL row or rows (a pair gives two unpaired ones) of `row`.

    `layout` is that of the whole source (`layout_for` on its columns): a row that lacks one of its columns is
    an error (`KeyError`), and is never read in another layout. Raises `LayoutError` for a row that cannot be
    read.
    """
    for made in _rows(row, rows, layout, reading):
        is_chat = any(isinstance(text, list) for text in made.values())
        yield {**made, **context_of(row).columns} if is_chat else made


def _rows(row: Row, rows: Rows, layout: Layout, reading: Reading) -> Iterator[dict[str, Any]]:
    match rows:
        case Rows.PROMPT_COMPLETION:
            yield demonstration(row, layout, reading)
        case Rows.PREFERENCE:
            pair = preference(row, layout, reading)
            yield {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        case Rows.UNPAIRED_PREFERENCE:
            yield from _unpaired(row, layout, reading)
        case Rows.PROMPT_ONLY:
            yield {"prompt": prompt_of(row, layout, reading)}


def label_of(value: Any) -> bool | None:
    """Return KTO's label as a boolean, None if it is not one. CSV holds text, pandas writes 1.0 and 0.0."""
    if isinstance(value, str):
        return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
            value.strip().lower()
        )
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def instruction_prompt(row: Row) -> str:
    """Return an Alpaca row's prompt: the instruction, and the input below it, if any.

    Raises `LayoutError` for an input that is not text.
    """
    given = row.get("input")
    if not isinstance(given, str | None):
        raise LayoutError("wrong-type", '"input" must be a string')
    return f"{row['instruction']}\n\n{given}" if given else str(row["instruction"])


def user_turn(text: Text, chat: bool) -> Text:
    """Return a string as a chat with a user turn if `chat`; else `text`."""
    return [{"role": "user", "content": text}] if chat and isinstance(text, str) else text


def assistant_turn(text: Text, chat: bool) -> Text:
    """Return a string as a chat with an assistant turn if `chat`; else `text`."""
    return [{"role": "assistant", "content": text}] if chat and isinstance(text, str) else text


def demonstration(row: Row, layout: Layout, reading: Reading) -> dict[str, Any]:
    """Return an SFT row: {"text"}, {"messages"} or {"prompt", "completion"}. Raises `LayoutError`."""
    if layout.columns == ("text",):
        return {"text": row["text"]}
    if layout.prompt in CHATS:
        return {"messages": _whole_chat(row, layout.prompt, reading)}
    made = _exchange(row, layout, reading, completion=row[str(layout.answer)])
    return {"prompt": made.prompt, "completion": made.completion}


def preference(row: Row, layout: Layout, reading: Reading) -> Exchange:
    """Return the prompt, chosen and rejected answer of a pair. Raises `LayoutError`."""
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) is not isinstance(rejected, str):
        raise LayoutError("wrong-type", 'of "chosen" and "rejected" one is a string, the other a list')
    if layout.prompt is None or (_is_whole(chosen) and _is_whole(rejected)):
        _check_prompt_is_there(row, layout, chosen)
        return _implicit(row, chosen, rejected, reading)
    return _exchange(row, layout, reading, chosen=chosen, rejected=rejected)


def prompt_of(row: Row, layout: Layout, reading: Reading) -> Text:
    """Return the prompt; of a whole chat everything before its last answer. Raises `LayoutError`."""
    if layout.prompt in CHATS:
        return split_messages(_whole_chat(row, layout.prompt, reading))[0]
    return _exchange(row, layout, reading).prompt


def split_messages(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Return everything before the last assistant turn, and that turn, or [] without one."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], messages[-1:]
    return messages, []


def _unpaired(row: Row, layout: Layout, reading: Reading) -> Iterator[dict[str, Any]]:
    if layout.is_pair:
        pair = preference(row, layout, reading)
        yield {"prompt": pair.prompt, "completion": pair.chosen, "label": True}
        yield {"prompt": pair.prompt, "completion": pair.rejected, "label": False}
        return
    if layout.prompt in CHATS:
        prompt, completion = split_messages(_whole_chat(row, layout.prompt, reading))
        made = {"prompt": prompt, "completion": completion}
    else:
        made = demonstration(row, layout, reading)
    yield {**made, "label": label_of(row["label"])}


def _whole_chat(row: Row, column: str, reading: Reading) -> list[Message]:
    return _before(row, messages_of(column, row[column]), reading)


def _exchange(row: Row, layout: Layout, reading: Reading, **answers: Any) -> Exchange:
    """Return the prompt of `layout` with `answers`, all strings or all lists of messages."""
    given = instruction_prompt(row) if layout.prompt == "instruction" else row[str(layout.prompt)]
    texts = [given, *answers.values()]
    if not reading.chat and all(isinstance(text, str) for text in texts):
        return Exchange(given, **answers)
    prompt = _turns(str(layout.prompt), given, "user")
    made = {name: _turns(name, answer, "assistant") for name, answer in answers.items()}
    return Exchange(_before(row, prompt, reading), **made)


def _turns(column: str, text: Text, role: str) -> list[Message]:
    return [{"role": role, "content": text}] if isinstance(text, str) else messages_of(column, text)


def _implicit(row: Row, chosen: Text, rejected: Text, reading: Reading) -> Exchange:
    """Return a pair of whole conversations, hh-rlhf dialogues, or texts with a common beginning."""
    if not isinstance(chosen, str):
        turns = messages_of("chosen", chosen), messages_of("rejected", rejected)
    elif is_dialogue(chosen) and is_dialogue(rejected) and reading.chat:
        turns = turns_of_dialogue(chosen), turns_of_dialogue(rejected)
    else:
        return _implicit_strings(row, chosen, rejected, reading)
    prompt, good, bad = split_conversations(*turns)
    return Exchange(_before(row, prompt, reading), chosen=good, rejected=bad)


def _implicit_strings(row: Row, chosen: str, rejected: str, reading: Reading) -> Exchange:
    split = split_dialogues if is_dialogue(chosen) else split_strings
    prompt, good, bad = split(chosen, rejected)
    if not reading.chat:
        return Exchange(prompt, chosen=good, rejected=bad)
    answers = (_turns("", text.strip(), "assistant") for text in (good, bad))
    return Exchange(_before(row, _turns("prompt", prompt, "user"), reading), None, *answers)


def _check_prompt_is_there(row: Row, layout: Layout, chosen: Text) -> None:
    """Raise `LayoutError` for a prompt beside whole conversations that do not contain it."""
    given = "" if layout.prompt is None or layout.prompt in CHATS else row[layout.prompt]
    if not given or (isinstance(given, str) and not given.strip()):
        return
    turns = turns_of_dialogue(chosen) if isinstance(chosen, str) else messages_of("chosen", chosen)
    if isinstance(given, str) and not is_dialogue(given):
        held = any(given.strip() in str(turn["content"]) for turn in turns)
    else:
        opening = turns_of_dialogue(given) if isinstance(given, str) else messages_of("prompt", given)
        while opening and not opening[-1]["content"]:
            opening = opening[:-1]  # a dialogue's prompt ends with "Assistant:"
        held = turns[: len(opening)] == opening
    if not held:
        message = f'"{layout.prompt}" does not stand in the conversation of "chosen"'
        hint = f'leave it out: "columns": {{"other_{layout.prompt}": "{layout.prompt}"}}'
        raise LayoutError("prompt-differs", message, hint)


def _is_whole(answer: Text) -> bool:
    """Return whether an answer is a whole conversation.

    A list of turns that does not start with the assistant, or an hh-rlhf dialogue.
    """
    if isinstance(answer, str):
        return is_whole_dialogue(answer)
    if not isinstance(answer, list) or not answer or not is_turn(answer[0]):
        return False
    return bool(messages_of("chosen", answer[:1])[0]["role"] != "assistant")


def _before(row: Row, messages: list[Message], reading: Reading) -> list[Message]:
    """Return `messages` with the row's history and system prompt before them."""
    has_head = bool(messages) and messages[0]["role"] in HEADS
    if history := history_of(row.get("history")):
        messages = [*messages[:has_head], *history, *messages[has_head:]]
    own = row.get("system")
    if own is not None and not isinstance(own, str):
        raise LayoutError("wrong-type", '"system" must be a string')
    if has_head:
        if own and own != messages[0]["content"]:
            raise LayoutError(
                "two-system-prompts", '"system" differs from the system turn of the conversation'
            )
        return messages
    system = own or reading.system
    return [{"role": "system", "content": system}, *messages] if system else messages
