"""Diagnostics for common mistakes in JSON syntax.

Uses a cursor into the text; the grammar is in `ptspec.recipe.scanner`.
"""

from __future__ import annotations

import re
from json.decoder import JSONDecodeError
from typing import NoReturn

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.json_pointer import NEWLINE, Lines, Span

NOT_FINITE = frozenset(("NaN", "nan", "Infinity", "-Infinity", "+Infinity", "inf", "-inf", "Inf"))

_WORD = re.compile(r"[-+.$\w]+")
_MEANT = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"} | dict.fromkeys(
    ("None", "NULL", "Null", "nil", "undefined"), "null"
)
_CLOSER = {"{": "}", "[": "]"}


class Cursor:
    """A position in a text: `at` is the next character, `open` the unclosed brackets."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.at = 0
        self.open: list[int] = []
        self.lines = Lines(text, file)
        self.faults: list[Diagnostic] = []

    def peek(self) -> str:
        """Return the next character; "" at the end."""
        return self.text[self.at : self.at + 1]

    def here(self) -> Span:
        """Return the span of the next character."""
        return Span(self.at, self.at + 1)

    def word(self) -> Span:
        """Return the span of the next word: letters, digits, signs and points."""
        match = _WORD.match(self.text, self.at)
        return Span(*match.span()) if match else self.here()

    def fault(self, code: str, message: str, span: Span, pointer: str, hint: str | None = None) -> None:
        """Record an error and continue."""
        self.faults.append(Diagnostic(code, message, self.lines.locate(span), pointer, hint))

    def fail(self, code: str, message: str, span: Span, hint: str | None = None) -> NoReturn:
        """Raise `InputError` with this error and those recorded before."""
        raise InputError(
            *self.faults, Diagnostic(code, message, self.lines.locate(span), hint=hint)
        ) from None


def refuse_rest(cursor: Cursor) -> NoReturn:
    """Raise `InputError`: text follows the value of the whole text."""
    _comment(cursor)
    cursor.fail("invalid-json", "more text after the end of the recipe", cursor.word())


def refuse_key(cursor: Cursor) -> NoReturn:
    """Raise `InputError`: a key is expected here."""
    _common(cursor)
    span = cursor.word()
    word = cursor.text[span.start : span.end]
    if word == ",":
        cursor.fail("invalid-json", "two commas in a row", span, "remove one")
    if word == "]":
        _mismatch(cursor, "}")
    hint = f'write "{word}"' if word.isidentifier() else 'write "key": value'
    cursor.fail("invalid-json", f"keys take double quotes: {word} is not a key", span, hint)


def refuse_colon(cursor: Cursor, key: str, end: int) -> NoReturn:
    """Raise `InputError`: a colon is missing after `key`, which ends at `end`."""
    _comment(cursor)
    message = f'a colon is missing after "{key}"'
    cursor.fail("invalid-json", message, Span(end, end + 1), 'write "key": value')


def refuse_separator(cursor: Cursor, closer: str, end: int) -> NoReturn:
    """Raise `InputError`: a comma or `closer` is missing after an element, which ends at `end`."""
    _end(cursor)
    _comment(cursor)
    if cursor.peek() in ("}", "]"):
        _mismatch(cursor, closer)
    if cursor.peek() in ('"', "'", "{", "[") or _WORD.match(cursor.text, cursor.at):
        cursor.fail("missing-comma", "a comma is missing here", Span(end, end + 1), "add it")
    message = f'"{cursor.peek()}" stands where a comma or "{closer}" should be'
    cursor.fail("invalid-json", message, cursor.here())


def refuse_trailing_comma(cursor: Cursor, comma: int) -> NoReturn:
    """Raise `InputError`: the comma at `comma` is followed by a closing bracket."""
    hint = "remove it: JSON has no comma after the last one"
    cursor.fail("trailing-comma", f'a comma before "{cursor.peek()}"', Span(comma, comma + 1), hint)


def refuse_value(cursor: Cursor) -> NoReturn:
    """Raise `InputError`: a value is expected here."""
    _common(cursor)
    span = cursor.word()
    word = cursor.text[span.start : span.end]
    if word in _MEANT:
        cursor.fail("invalid-json", f"JSON does not know {word}", span, f"write {_MEANT[word]}")
    if word[0] in "+-.0123456789":
        hint = "numbers look like 3, -1, 0.5 or 2e-5"
        cursor.fail("invalid-json", f"{word} is not a JSON number", span, hint)
    if word in ("}", "]", ",", ":"):
        cursor.fail("invalid-json", f'a value is missing before "{word}"', span)
    meant = f'strings take double quotes: write "{word}"' if word[0].isalpha() else None
    cursor.fail("invalid-json", f"{word} is not a JSON value", span, meant)


def refuse_string(cursor: Cursor, error: JSONDecodeError) -> NoReturn:
    """Raise `InputError`: the string at the cursor is invalid; `error` is the standard library's."""
    newline = NEWLINE.search(cursor.text, cursor.at)
    line_end = newline.start() if newline else len(cursor.text)
    if error.msg.startswith("Unterminated") or error.pos == line_end:
        hint = 'add the closing " (a line break inside a string is written \\n)'
        span = Span(cursor.at, line_end)
        cursor.fail("unterminated-string", "this string does not end on its line", span, hint)
    where = Span(error.pos, error.pos + 1)
    if error.msg.startswith("Invalid control"):
        char = cursor.text[error.pos]
        escape = "\\t" if char == "\t" else f"\\u{ord(char):04x}"
        message = f"a raw control character (U+{ord(char):04X}) in a string"
        cursor.fail("invalid-json", message, where, f"write {escape}")
    cursor.fail("invalid-json", "not an escape that JSON knows", where, "a backslash is written \\\\")


def _common(cursor: Cursor) -> None:
    _end(cursor)
    _comment(cursor)
    _quotes(cursor)


def _end(cursor: Cursor) -> None:
    if cursor.at < len(cursor.text):
        return
    if not cursor.open:
        cursor.fail("invalid-json", "there is no value", cursor.here())
    opened = cursor.open[-1]
    opener = cursor.text[opened]
    message = f'"{opener}" is never closed: the file ends first'
    cursor.fail("unclosed", message, Span(opened, opened + 1), f'add its "{_CLOSER[opener]}"')


def _comment(cursor: Cursor) -> None:
    mark = next((mark for mark in ("//", "/*", "#") if cursor.text.startswith(mark, cursor.at)), None)
    if mark:
        hint = 'put it in a "$comment" key: any object may have one'
        cursor.fail("comment", "JSON has no comments", Span(cursor.at, cursor.at + len(mark)), hint)


def _quotes(cursor: Cursor) -> None:
    quote = cursor.peek()
    if quote in ("'", "`"):
        end = cursor.text.find(quote, cursor.at + 1)
        inner = cursor.text[cursor.at + 1 : end] if end > 0 else ""
        short = 0 < len(inner) < 60 and not NEWLINE.search(inner)
        span = Span(cursor.at, end + 1) if short else cursor.here()
        hint = f'write "{inner if short else "…"}"'
        cursor.fail("single-quotes", "strings and keys take double quotes", span, hint)
    if quote in ("“", "”", "„", "‘", "’", "«"):
        cursor.fail("single-quotes", f"{quote} is a typographic quote", cursor.here(), 'use plain "')


def _mismatch(cursor: Cursor, closer: str) -> NoReturn:
    opened = cursor.lines.locate(Span(cursor.open[-1], cursor.open[-1]))
    opener = cursor.text[cursor.open[-1]]
    message = f'"{cursor.peek()}" cannot close the "{opener}" of line {opened.line}, column {opened.column}'
    cursor.fail("unclosed", message, cursor.here(), f'"{closer}" is missing before it')
