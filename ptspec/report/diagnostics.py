"""Diagnostics as text, JSON lines, or GitHub annotations."""

from __future__ import annotations

import json
import os
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TextIO

from ptspec.diagnostics import Diagnostic, Location, Severity, Unchecked, cut
from ptspec.secrets import redacted, redacted_source

LONGEST = 1000
"""Maximum characters of a shown text: a key of a recipe may have any length."""
WIDTH = 100
"""Maximum characters of a quoted line; a longer one is cut to the part around the error."""

NARROWEST = 40
INDENT = " " * 5

_COLOURS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.NOTE: "\x1b[1m"}
_COMMANDS = {Severity.NOTE: "notice"}
"""GitHub's names of severities, if different."""
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Format(str, Enum):
    """Output formats of `pt validate`."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def render(
    diagnostics: Sequence[Diagnostic], format: Format, colour: bool = False, width: int | None = None
) -> str:
    """Return all of `diagnostics`, one or more lines each, without a summary.

    Text wraps between words at `width` columns, if given.
    """
    shown = [_without_secrets(_relative(diagnostic)) for diagnostic in diagnostics]
    if format is Format.JSON:
        return "".join(f"{as_json(diagnostic)}\n" for diagnostic in shown)
    if format is Format.GITHUB:
        return "".join(f"{as_github(diagnostic)}\n" for diagnostic in shown)
    return "".join(as_text(diagnostic, colour, width) for diagnostic in shown)


def unchecked_lines(unchecked: Sequence[Unchecked]) -> list[str]:
    """Return a line per reason for unchecked resources: "not checked: the hub (no network): x, y"."""
    names: dict[str, dict[str, None]] = {}
    for one in unchecked:
        names.setdefault(one.why, {})[one.name] = None
    return [f"not looked at: the hub ({why}): {', '.join(found)}" for why, found in names.items()]


def as_note(unchecked: Unchecked) -> Diagnostic:
    """Return an unchecked resource as a diagnostic, for other programs."""
    message = f"{unchecked.name} on the hub was not looked at: {unchecked.why}"
    return Diagnostic("not-looked-at", message, unchecked.location, unchecked.pointer, severity=Severity.NOTE)


def columns_of(stream: TextIO) -> int | None:
    """Return the width of the terminal `stream`; None for a pipe, where lines are not wrapped."""
    return max(shutil.get_terminal_size().columns, NARROWEST) if stream.isatty() else None


def broken(text: str, width: int | None) -> str:
    """Wrap the lines of `text` between words at `width`, indenting continuation lines.

    An indented line is a command to copy and is not wrapped.
    """
    lines = (
        [line]
        if width is None or len(line) <= width or line[:1].isspace()
        else _wrapped(line, width, first="")
        for line in text.split("\n")
    )
    return "\n".join("\n".join(one) for one in lines)


def wants_colour(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal with colour, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """Return "2 errors, 1 warning"; "" without diagnostics."""
    errors, warnings = (
        sum(diagnostic.severity is severity for diagnostic in diagnostics)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    counts = ((errors, "error"), (warnings, "warning"))
    return ", ".join(f"{count:,} {noun}{'s' if count != 1 else ''}" for count, noun in counts if count)


def as_text(diagnostic: Diagnostic, colour: bool = False, width: int | None = None) -> str:
    """Return location, error, the quoted line underlined with the hint beside, pointer, and notes."""
    paint = (lambda code, text: f"{code}{text}{_PLAIN}") if colour else (lambda code, text: text)
    where, tint = diagnostic.location, _COLOURS[diagnostic.severity]
    head = f"{diagnostic.severity.value}[{diagnostic.code}]"
    place = f"{_place(where)}: " if where else ""
    first, *further = _wrapped(
        f"{place}{head}: {_visible(cut(diagnostic.message, LONGEST))}", width, first=""
    )
    if first.startswith(place + head):
        rest = first[len(place + head) :]
        first = (f"{paint(_BOLD, place[:-2])}: " if place else "") + paint(tint, head) + rest
    lines = [first, *further]
    hint = _visible(cut(diagnostic.hint or "", LONGEST))
    if where and where.text is not None and where.column is not None:
        number = str(where.line) if where.line else ""
        gutter = max(len(INDENT), len(number) + 2)
        room = WIDTH if width is None else min(WIDTH, width - gutter - 4)
        quoted, before, marked = _window(where.text, where.column - 1, where.length, room)
        lines.append(f"{paint(_DIM, number.rjust(gutter - 1) + ' |')} {quoted}")
        below = f"{paint(_DIM, ' ' * gutter + '|')} {' ' * before}{paint(tint, '^' * marked)}"
        is_beside = width is None or gutter + 3 + before + marked + _columns(hint) <= width
        lines.append(f"{below} {hint if is_beside else ''}".rstrip())
        hint = "" if is_beside else hint
    for text in (hint, *map(_visible, diagnostic.notes)):
        lines += _wrapped(text, width) if text else []
    if diagnostic.pointer and where and where.text is not None:
        lines.append(INDENT + paint(_DIM, f"at {_visible(cut(diagnostic.pointer, LONGEST))}"))
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int | None, first: str | None = None) -> list[str]:
    """Return indented `text` (the first line by `first`), wrapped between words at `width`."""
    head = INDENT if first is None else first
    if width is None:
        return [head + text]
    return textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def as_json(diagnostic: Diagnostic) -> str:
    """Return one line of JSON with every key. Non-ASCII is escaped, so that any stream can encode it."""
    where = diagnostic.location or Location("")
    return json.dumps(
        {
            "file": where.file or None,
            "line": where.line,
            "column": where.column,
            "pointer": diagnostic.pointer,
            "code": diagnostic.code,
            "severity": diagnostic.severity.value,
            "message": diagnostic.message,
            "hint": diagnostic.hint,
            "notes": list(diagnostic.notes),
        }
    )


def as_github(diagnostic: Diagnostic) -> str:
    """Return a workflow command: GitHub shows it at the line of the file."""
    where = diagnostic.location
    fields = {"title": diagnostic.code}
    if where is not None:
        fields["file"] = _visible(where.file)
        if where.line is not None:
            fields["line"] = str(where.line)
        if where.line is not None and where.column is not None:
            fields["col"] = str(where.column)
            fields["endColumn"] = str(where.column + where.length)
    properties = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in fields.items())
    lines = filter(None, (diagnostic.message, diagnostic.hint, *diagnostic.notes))
    text = "\n".join(_visible(line) for text in lines for line in text.splitlines())
    command = _COMMANDS.get(diagnostic.severity, diagnostic.severity.value)
    return f"::{command} {properties}::{_escaped(text)}"


def _escaped(text: str, also: str = "") -> str:
    for char in "%\r\n" + also:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _without_secrets(diagnostic: Diagnostic) -> Diagnostic:
    where = diagnostic.location
    if where is not None:
        text = None if where.text is None else redacted_source(where.text)
        where = replace(where, file=redacted(where.file), text=text)
    return replace(
        diagnostic,
        message=redacted_source(diagnostic.message),
        location=where,
        hint=None if diagnostic.hint is None else redacted(diagnostic.hint),
        notes=tuple(map(redacted, diagnostic.notes)),
    )


def _relative(diagnostic: Diagnostic) -> Diagnostic:
    """Return the diagnostic with the file relative to the working directory."""
    where = diagnostic.location
    if where is None or not Path(where.file).is_absolute() or not Path(where.file).is_relative_to(Path.cwd()):
        return diagnostic
    return replace(diagnostic, location=replace(where, file=str(Path(where.file).relative_to(Path.cwd()))))


def _place(where: Location) -> str:
    parts = [_visible(where.file), where.line, where.column if where.line is not None else None]
    return ":".join(str(part) for part in parts if part is not None)


def _window(text: str, start: int, length: int, room: int) -> tuple[str, int, int]:
    """Return the part of a line to show, the columns before the error, and those to underline."""
    first = 0 if len(text) <= room else max(0, min(start - room // 3, len(text) - room))
    shown = text[first : first + room]
    head, tail = "…" if first else "", "…" if first + room < len(text) else ""
    marked = _visible(text[start : min(start + length, first + room)])
    return (
        f"{head}{_visible(shown)}{tail}",
        len(head) + _columns(_visible(text[first:start])),
        max(1, _columns(marked)),
    )


def _visible(text: str) -> str:
    """Replace control and unencodable characters one for one, to keep columns."""
    if text.isprintable():
        return text
    text = text.replace("\t", " ")
    return "".join("\ufffd" if unicodedata.category(char) in _INVISIBLE else char for char in text)


_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def _columns(text: str) -> int:
    """Return the terminal columns of `text`."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
