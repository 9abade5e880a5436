"""`--set stages.dpo.config.beta=0.2`: recipe values from the command line, typed by the schema.

A key with a dot or an equals sign is quoted: `--set 'adapter.rank_pattern."layers.0.q_proj"=8'`. Without
quotes, the end of a path is one key if that is the only reading that the schema accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.document import Document
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import Span, join
from ptspec.recipe.scanner import Scanner
from ptspec.recipe.schema import check
from ptspec.recipe.wording import SET

FILE = SET
"""File name shown in an override's error."""


@dataclass(frozen=True)
class Override:
    """One `--set`: its `text`, the path's steps with their positions, and the value's text."""

    text: str
    steps: tuple[str, ...]
    spans: tuple[Span, ...]
    value: str
    quoted: bool = False

    def place(self, span: Span) -> Location:
        """Return the location of `span` in the text."""
        return Location(FILE, None, span.start + 1, max(1, span.end - span.start), self.text)

    @property
    def value_place(self) -> Location:
        """Return the location of the value."""
        start = len(self.text) - len(self.value)
        return self.place(Span(start, len(self.text)))


def override(document: Document, texts: Sequence[str]) -> Document:
    """Return `document` with the overrides applied, in order. Raises `InputError` with every invalid one.

    A value is JSON if it parses and the schema accepts that, else the bare text.
    """
    faults: list[Diagnostic] = []
    for text in texts:
        try:
            document = _apply(document, _read(text))
        except InputError as error:
            faults.extend(error.diagnostics)
    if faults:
        raise InputError(*faults)
    return document


_STEP = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^.="]*?))\s*(?P<after>[.=])')


def _read(text: str) -> Override:
    steps: list[str] = []
    spans: list[Span] = []
    quoted, at = False, 0
    while match := _STEP.match(text, at):
        name = "bare" if match["quoted"] is None else "quoted"
        steps.append(match[name])
        spans.append(Span(match.start(name), match.end(name)))
        quoted, at = quoted or name == "quoted", match.end()
        if match["after"] == "=" and steps != [""]:
            return Override(text, tuple(steps), tuple(spans), text[at:], quoted)
        if match["after"] == "=":
            break
    where = Location(FILE, None, 1, max(1, len(text)), text)
    raise InputError(
        Diagnostic("bad-override", "no path=value", where, hint="as in stages.dpo.config.beta=0.2")
    )


def _apply(document: Document, given: Override) -> Document:
    """Return `document` with the override; a path with dots in a key in the one way the schema accepts."""
    try:
        applied = _typed(document, given)
    except InputError:
        readings = list(_readings(document, given))
        if len(readings) != 1:
            raise
        return readings[0]
    readings = list(_readings(document, given)) if _faults(applied, given) else []
    return readings[0] if len(readings) == 1 else applied


def _readings(document: Document, given: Override) -> Iterator[Document]:
    """Yield `document` with the end of the path as one key, in each way the schema accepts."""
    if given.quoted or not all(given.steps):
        return
    for index in range(1, len(given.steps) - 1):
        steps = (*given.steps[:index], ".".join(given.steps[index:]))
        spans = (*given.spans[:index], Span(given.spans[index].start, given.spans[-1].end))
        try:
            applied = _typed(document, replace(given, steps=steps, spans=spans))
        except InputError:
            continue
        if not _faults(applied, given):
            yield applied


def _faults(document: Document, given: Override) -> list[Diagnostic]:
    """Return the schema errors in value or path of `given`."""
    return [
        d for d in check(document) if d.location and (d.location.file, d.location.text) == (FILE, given.text)
    ]


def _typed(document: Document, given: Override) -> Document:
    """Return `document` with the value parsed as JSON, or as text if the schema accepts only that."""
    value = _json(given.value)
    typed = _set(document, given, value)
    if isinstance(value, str):
        return typed
    pointer = list(typed.overlay)[-1]
    if any(d.pointer == pointer and d.code == "wrong-type" for d in check(typed)):
        bare = _set(document, given, given.value)
        if not any(d.pointer == pointer and d.code == "wrong-type" for d in check(bare)):
            return bare
    return typed


def _json(text: str) -> Any:
    """Return `text` parsed as strict JSON, unchanged if that fails."""
    scanner = Scanner(text, FILE)
    try:
        value = scanner.read()
    except InputError:
        return text
    return text if scanner.faults else value


def _set(document: Document, given: Override, value: Any) -> Document:
    root = deepcopy(document.value)
    overlay = dict(document.overlay)
    here, pointer = root, ""
    for index, step in enumerate(given.steps):
        key = _step(here, step, pointer, given, index)
        last = index == len(given.steps) - 1
        below = join(pointer, key)
        places = (given.place(given.spans[index]), given.value_place)
        if last:
            overlay = {known: place for known, place in overlay.items() if not known.startswith(f"{below}/")}
            overlay.pop(below, None)
            overlay[below] = places
            here[key] = value
        elif isinstance(here, dict) and key not in here:
            overlay[below] = places
            here[key] = {}
        pointer, here = below, here[key]
    return replace(document, value=root, overlay=overlay)


def _step(here: Any, step: str, pointer: str, given: Override, index: int) -> str | int:
    """Return the key or index of `here` that `step` names; a stage may be given by name."""
    if isinstance(here, dict) and step:
        return step
    where = given.place(given.spans[index])
    if isinstance(here, list):
        if step.isdecimal() and int(step) < len(here):
            return int(step)
        names = [item.get("name") if isinstance(item, dict) else None for item in here]
        if step in names:
            return names.index(step)
        known = [name for name in names if isinstance(name, str)]
        hint = (
            did_you_mean(step, known) or f"there are: {listed(known)}"
            if known
            else f"it has {len(here)} items"
        )
        raise InputError(Diagnostic("bad-override", f'"{step}" is not in {pointer}', where, hint=hint))
    what = f"{pointer} holds no further keys" if step else "a step of the path is empty"
    raise InputError(Diagnostic("bad-override", what, where))
