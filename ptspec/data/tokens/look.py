"""Check how a chat template renders a row.

What it leaves out, how it starts and ends the answer, and which tokens it splits. Takes rows in TRL's
columns; imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from ptspec.data.tokens.chat_tokenizer import CannotRender, Chat, ChatTokenizer, Messages
from ptspec.data.tokens.template import REASONING, TokenizerFiles
from ptspec.data.tokens.thoughts import KNOWN, has_tag, split_thoughts
from ptspec.recipe.json_pointer import strings_in

ANSWERS = ("completion", "chosen", "rejected")
MASK = "\0"

_MARK = re.compile(r"<\|[^|<>\s]+\|?>|<[^|<>\s]+\|>|<｜[^｜<>]+｜>|<(?:start|end)_of_\w+>|<[A-Z_]+_TOKEN>")
"""Text that looks like a special token: <|im_start|>, <｜User｜>, <start_of_turn>, <turn|>, <EOS_TOKEN>."""


class Kind(Enum):
    """The kind of a finding."""

    LEFT_OUT = "left out"
    NOT_PREFIX = "the prompt alone is rendered otherwise than before the answer"
    EMPTY_THOUGHT = "the template puts an empty thought before the answer"
    NO_STOP = "nothing that generation stops at follows the answer"
    SPLIT = "split into several tokens"
    BEYOND = "beyond the embedding"


class Finding(NamedTuple):
    """`what`: the part of the row, the token, or the end of the text that it is about."""

    kind: Kind
    what: str


@dataclass(frozen=True)
class Look:
    """Checks rendered rows.

    `stops`: the tokens that end generation; `embedding`: the number of rows of the model's embedding. None if
    unknown.
    """

    tokenizer: TokenizerFiles
    stops: frozenset[str]
    embedding: int | None = None

    def is_chat(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row in TRL's columns uses the chat template."""
        return self.tokenizer.is_template and any(True for _ in _chats(row))

    def findings(self, row: Mapping[str, Any]) -> list[Finding]:
        """Return the findings in a row in TRL's columns, each once. Raises `CannotRender`."""
        found: list[Finding] = []
        texts = _plain(row)
        for chat in _chats(row) if self.tokenizer.is_template else ():
            head, whole = _rendered(chat, self.tokenizer)
            found += self._chat(chat, head, whole)
            texts.append(whole)
        return list(dict.fromkeys([*found, *self._beyond(texts)]))

    def _chat(self, chat: _Chat, head: str, whole: str) -> Iterator[Finding]:
        left_out, masked = _masked(whole, chat)
        yield from (Finding(Kind.LEFT_OUT, what) for what in left_out)
        if chat.answer:
            if not self._is_prefix(head, whole):
                yield Finding(Kind.NOT_PREFIX, head[-30:])
            elif thought := _empty_thought(chat.answer, whole[len(head) :]):
                yield Finding(Kind.EMPTY_THOUGHT, thought)
            after = masked.rpartition(MASK)[2]
            if not any(stop in after or _ends_with(chat.answer, stop) for stop in self.stops):
                yield Finding(Kind.NO_STOP, after[-40:])
        yield from (Finding(Kind.SPLIT, mark) for mark in self._split(masked))

    def _is_prefix(self, head: str, whole: str) -> bool:
        """Return whether the tokens of `head` are a prefix of those of `whole`.

        Tokens may merge at the answer.
        """
        if not whole.startswith(head):
            return False
        if not head or not self.tokenizer.can_count or head.endswith(tuple(self.tokenizer.tokens)):
            return True
        begin, ids = self.tokenizer.ids([head, whole], special=False)
        return ids[: len(begin)] == begin

    def _split(self, text: str) -> Iterator[str]:
        if self.tokenizer.can_count:
            yield from (mark for mark in marks_in(text) if self.tokenizer.token_id(mark) is None)

    def _beyond(self, texts: Sequence[str]) -> Iterator[Finding]:
        if self.embedding is None or not self.tokenizer.can_count:
            return
        for ids in self.tokenizer.ids(texts, special=False):
            for token_id in sorted({one for one in ids if one >= self.embedding}):
                yield Finding(Kind.BEYOND, self.tokenizer.token(token_id) or str(token_id))


class _Chat(NamedTuple):
    """One sequence of a row: the prompt's turns, and the learned turns."""

    prompt: Messages
    answer: Messages
    tools: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None


def marks_in(text: str) -> list[str]:
    """Return texts in a template that look like special tokens, each once."""
    return list(dict.fromkeys(_MARK.findall(text)))


def render_row(row: Mapping[str, Any], tokenizer: ChatTokenizer) -> None:
    """Render the chats of a row in TRL's columns. Raises `CannotRender`."""
    for chat in _chats(row):
        _rendered(chat, tokenizer)


def _rendered(chat: _Chat, tokenizer: ChatTokenizer) -> tuple[str, str]:
    """Return the generation prompt, and the whole text."""
    given: dict[str, Any] = {"tools": chat.tools, "variables": chat.kwargs or {}}
    head = tokenizer.rendered(Chat(chat.prompt, prompt=True, **given)) if chat.prompt else ""
    messages = [*chat.prompt, *chat.answer]
    whole = tokenizer.rendered(Chat(messages, **given)) if chat.answer else head
    if any(isinstance(m.get("content"), list) and str(m["content"]) in whole for m in messages):
        raise CannotRender('a "content" that is a list of parts gets into the text as Python')
    return head, whole


def _chats(row: Mapping[str, Any]) -> Iterator[_Chat]:
    """Return the chats of a row; of a conversation the answer is its last turn."""
    tools, kwargs = row.get("tools"), row.get("chat_template_kwargs")
    messages = row.get("messages")
    if isinstance(messages, list) and messages:
        learned = len(messages) - (messages[-1].get("role") == "assistant")
        yield _Chat(messages[:learned], messages[learned:], tools, kwargs)
    prompt = row.get("prompt")
    answers = [row[name] for name in ANSWERS if isinstance(row.get(name), list)]
    if isinstance(prompt, list):
        yield from (_Chat(prompt, answer, tools, kwargs) for answer in answers or [[]])


def _plain(row: Mapping[str, Any]) -> list[str]:
    """Return the texts of a row without a template."""
    found = (row.get(name) for name in ("text", "prompt", *ANSWERS))
    return [text for text in found if isinstance(text, str)]


def _masked(text: str, chat: _Chat) -> tuple[list[str], str]:
    """Return the parts of a chat that are missing in `text`, and the rest of the text without the parts.

    The longest are searched first and each at its own place, so that none is found inside another.
    """
    left_out: list[str] = []
    for what, piece in sorted(_pieces(chat), key=lambda part: -len(part[1])):
        place = next(filter(None, (_place(form, text) for form in _forms(piece))), None)
        if place is None:
            left_out.append(what)
        else:
            text = text[: place[0]] + MASK + text[place[1] :]
    return list(dict.fromkeys(left_out)), text


def _place(form: str, text: str) -> tuple[int, int] | None:
    """Return (begin, end) of the first occurrence of `form` outside marks.

    The answer "b" is not that of <|bos|>.
    """
    marks = [mark.span() for mark in _MARK.finditer(text)]
    begin = text.find(form)
    while begin >= 0:
        end = begin + len(form)
        if not any(start <= begin and end <= stop and end - begin < stop - start for start, stop in marks):
            return begin, end
        begin = text.find(form, begin + 1)
    return None


def _forms(piece: str) -> tuple[str, ...]:
    """Return how a template may write a text: plain, or within JSON."""
    return (piece, json.dumps(piece, ensure_ascii=False)[1:-1], json.dumps(piece)[1:-1])


def _pieces(chat: _Chat) -> Iterator[tuple[str, str]]:
    """Return the texts of a chat that the model should read or learn, with their names."""
    for tool in chat.tools or ():
        function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        yield from _texts("the tools", function.get("name"), function.get("description"))
    for message in chat.prompt:
        yield from _of_message(message, "an earlier answer", "earlier turns'")
    for message in chat.answer:
        yield from _of_message(message, "the answer", "the answer's")


def _of_message(message: Mapping[str, Any], answer: str, whose: str) -> Iterator[tuple[str, str]]:
    role = str(message.get("role"))
    thoughts = [(KNOWN[0], message.get(key)) for key in REASONING]
    for text in _contents(message.get("content")):
        if role != "assistant":
            yield from _texts(_NAMES.get(role, "the results of tools"), text)
            continue
        inside, rest = split_thoughts(text)
        thoughts += inside
        yield from _texts(answer, *rest)
    for (opening, closing), thought in thoughts:
        yield from _texts(f"{whose} thoughts ({opening}…{closing})", thought)
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        yield from _texts(f"{whose} tool calls", function.get("name"), *_leaves(function.get("arguments")))


_NAMES = {"system": "the system prompt", "developer": "the system prompt", "user": "the user's words"}


def _texts(what: str, *texts: Any) -> Iterator[tuple[str, str]]:
    yield from ((what, text.strip()) for text in texts if isinstance(text, str) and text.strip())


def _contents(content: Any) -> list[str]:
    """Return the texts of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else ()
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _leaves(value: Any) -> Iterator[str]:
    """Return the strings in a call's arguments, which may be JSON text."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    yield from (text for _, text in strings_in(value))


def _empty_thought(answer: Messages, learned: str) -> str | None:
    """Return thinking marks before the learned answer that no message contains."""
    contents = [text for message in answer for text in _contents(message.get("content"))]
    if any(map(has_tag, contents)) or any(key in m for m in answer for key in REASONING):
        return None
    before = learned.partition(contents[0].strip())[0].strip() if contents and contents[0].strip() else ""
    return before if has_tag(before) else None


def _ends_with(answer: Messages, stop: str) -> bool:
    contents = _contents(answer[-1].get("content"))
    return bool(contents) and contents[-1].rstrip().endswith(stop)
