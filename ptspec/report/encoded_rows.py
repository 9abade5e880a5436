"""The rows of a stage as tokens: text with the learned part between ▐ and ▌, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec.data.encoded_rows import EncodedSequence, StageRow
from ptspec.data.readers.placed import shown
from ptspec.data.tokens.pieces import Piece, learned_texts
from ptspec.data.tokens.truncation import Truncation
from ptspec.methods.types import Yields
from ptspec.recipe.plan import Plan
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.report import words
from ptspec.report.clean import clean, escaped
from ptspec.secrets import redacted

OPEN, CLOSE = "▐", "▌"
BREAK = "↵"
"""Marks a line break of the text itself; the continuation is indented."""
INDENT = "  "
LONGEST = 300
"""Maximum characters of a shown column value."""

_LEARNED, _BOLD, _DIM, _WARNING, _PLAIN = "\x1b[32m", "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[0m"


def as_text(row: StageRow, plan: Plan, colour: bool = False) -> str:
    """Return each sequence of a row under its headline, then what rewards and judges receive."""
    lines = []
    for sequence in row.sequences:
        lines += [_headline(row, sequence, colour), _marked(sequence.pieces, colour)]
    lines += [INDENT + line for line in _receivers(row, plan)]
    return redacted("\n".join(lines)) + "\n"


def as_json(row: StageRow, sequence: EncodedSequence) -> str:
    """Return one line of JSON with every key. `learned_ids` is 1 for each of `ids` that is learned."""
    value: dict[str, Any] = {
        "stage": row.stage.name,
        "method": row.stage.method.name,
        "data": row.source.name,
        "file": row.file,
        "line": row.line,
        "side": sequence.side,
        "text": "".join(piece.text for piece in sequence.pieces),
        "learned": learned_texts(sequence.pieces),
        "ids": list(sequence.encoded.ids),
        "learned_ids": [int(one) for one in sequence.encoded.learned],
        "tokens": len(sequence.encoded.ids),
        "prompt_tokens": sequence.encoded.prompt,
        "truncation": row.truncation.value,
        "tokens_before_truncation": sequence.whole,
        "template": row.template,
        "label": row.label,
        "columns": None if row.columns is None else dict(row.columns),
    }
    return redacted(json.dumps(value, default=str))


def note(text: str, colour: bool = False) -> str:
    """Return a "note: …" line."""
    return _painted(f"note: {clean(text)}", _DIM, colour)


def _headline(row: StageRow, sequence: EncodedSequence, colour: bool) -> str:
    """Return "sft · data/train.jsonl:1 · 31 tokens, 9 learned · template of data/base_model"."""
    source = "" if row.source.name == row.stage.data else f"{row.source.name} "
    fate = _painted(_fate(row), _WARNING, colour)
    label = f"label {json.dumps(row.label)}" if row.label is not None else ""
    place = clean(f"{source}{row.file}:{row.line}")
    template = clean(row.template or "plain text, no template")
    parts = [place, sequence.side or "", _size(row, sequence), fate, label, template]
    return " · ".join([_painted(row.stage.name, _BOLD, colour), *filter(None, parts)])


def _size(row: StageRow, sequence: EncodedSequence) -> str:
    tokens = len(sequence.encoded.ids)
    of = f" of {sequence.whole:,}" if tokens < sequence.whole else ""
    size = f"{tokens:,}{of} tokens" if of else words.plural(tokens, "token")
    if row.stage.method.online:
        return f"prompt of {size}"
    if row.stage.method.yields is Yields.REWARD_MODEL:
        return size
    return f"{size}, {sum(sequence.encoded.learned):,} learned"


def _fate(row: StageRow) -> str:
    told = {
        Truncation.CUT: f"cut at max_length {row.limit}",
        Truncation.LOST: f"max_length {row.limit} leaves nothing of the answer",
        Truncation.DROPPED: f"dropped: too long for max_length {row.limit}",
    }
    return told.get(row.truncation, "")


def _marked(pieces: tuple[Piece, ...], colour: bool) -> str:
    """Return the text with the learned part in brackets; brackets in the text are escaped."""
    marked = ""
    for piece in pieces:
        text = escaped(piece.text).replace(OPEN, "\\u2590").replace(CLOSE, "\\u258c")
        code = _LEARNED if piece.learned else ""
        *lines, last = (f"{OPEN}{text}{CLOSE}" if piece.learned else text).split("\n")
        broken = [_painted(line + BREAK, code, colour) for line in lines]
        marked += f"\n{INDENT}".join([*broken, _painted(last, code, colour)])
    return marked


def _receivers(row: StageRow, plan: Plan) -> Iterator[str]:
    """Yield what reaches each reward or judge of an online method."""
    if row.columns is None:
        return
    form = "as strings" if row.are_strings else "as messages"
    rewards = [spec for name in row.stage.rewards for spec in _paying(plan.rewards[name], row.columns, plan)]
    for reward in rewards:
        gets = "in its own chat template" if reward.model else f"{form}, and the columns"
        yield f'reward "{clean(reward.name)}" ({_origin(reward)}) gets prompt and answer {gets}'
    if not all(reward.model for reward in rewards):
        width = max((len(clean(name)) for name in row.columns), default=0)
        for name, value in row.columns.items():
            yield f"{INDENT}{clean(name).ljust(width)}  {_value(value)}"
    if row.stage.judge is not None:
        judge = plan.judges[row.stage.judge]
        yield f'judge "{clean(judge.name)}" ({_origin(judge)}) gets prompt and two answers {form}'


def _paying(reward: RewardSpec, columns: Mapping[str, Any], plan: Plan) -> Iterator[RewardSpec]:
    """Return the reward itself, or the one that it chooses for a row with these columns."""
    if reward.by is None:
        yield reward
    elif (part := reward.by.part_of(columns.get(reward.by.column))) is not None:
        yield replace(plan.rewards[part], name=f"{reward.name}/{part}")


def _origin(signal: RewardSpec | JudgeSpec) -> str:
    if signal.function is not None:
        file, colon, name = signal.function.rpartition(":")
        return clean(f"{shown(Path(file))}{colon}{name}" if file else name)
    if isinstance(signal, JudgeSpec):
        return clean(signal.endpoint or f"reward {signal.reward}")
    return clean(f"model {signal.model}")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = escaped(text).replace("\n", BREAK)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(text):,} characters)"


def _painted(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{_PLAIN}" if colour and code and text else text
