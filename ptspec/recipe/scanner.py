"""A strict JSON scanner that records the span of every key and value.

Accepts what a strict `json.loads` accepts, without duplicate keys, NaN, infinities, floats beyond a double,
lone surrogates, and nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from math import isinf
from typing import Any

from ptspec.recipe import syntax
from ptspec.recipe.json_pointer import Span, join
from ptspec.recipe.syntax import NOT_FINITE, Cursor

MAX_DEPTH = 64

_NOT_SPACE = re.compile(r"[^ \t\n\r]|\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?")
_LITERALS = {"true": True, "false": False, "null": None}


class Scanner(Cursor):
    """One pass over a text, which fills `values` and `keys`: pointer -> span."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.values: dict[str, Span] = {}
        self.keys: dict[str, Span] = {}

    def read(self) -> Any:
        """Return the value of the whole text. Raises `InputError` if it is not JSON."""
        self._space()
        value = self._value("")
        self._space()
        if self.at < len(self.text):
            syntax.refuse_rest(self)
        return value

    def _space(self) -> None:
        match = _NOT_SPACE.search(self.text, self.at)
        self.at = match.start() if match else len(self.text)

    def _value(self, pointer: str) -> Any:
        start, char = self.at, self.peek()
        if char == '"':
            value: Any = self._string(pointer)
        elif char == "{":
            value = self._container(lambda: self._members(pointer))
        elif char == "[":
            value = self._container(lambda: self._items(pointer))
        else:
            value = self._scalar(pointer)
        self.values[pointer] = Span(start, self.at)
        return value

    def _container(self, read: Callable[[], Any]) -> Any:
        if len(self.open) == MAX_DEPTH:
            self.fail("too-deep", f"nested more than {MAX_DEPTH} levels deep", self.here())
        self.open.append(self.at)
        self.at += 1
        value = read()
        self.open.pop()
        return value

    def _members(self, pointer: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in self._elements("}"):
            if self.peek() != '"':
                syntax.refuse_key(self)
            start = self.at
            key = self._string(pointer)
            below, span = join(pointer, key), Span(start, self.at)
            if key in found:
                self._duplicate(key, below, span)
            self.keys[below] = span
            self._space()
            if self.peek() != ":":
                syntax.refuse_colon(self, key, span.end)
            self.at += 1
            self._space()
            found[key] = self._value(below)
        return found

    def _items(self, pointer: str) -> list[Any]:
        found: list[Any] = []
        for _ in self._elements("]"):
            found.append(self._value(join(pointer, len(found))))
        return found

    def _elements(self, closer: str) -> Iterator[None]:
        """Yield before each element of the innermost container; end after its closing bracket."""
        self._space()
        if self.peek() == closer:
            self.at += 1
            return
        while True:
            yield
            end = self.at
            self._space()
            if self.peek() == closer:
                self.at += 1
                return
            if self.peek() != ",":
                syntax.refuse_separator(self, closer, end)
            comma = self.at
            self.at += 1
            self._space()
            if self.peek() == closer:
                syntax.refuse_trailing_comma(self, comma)

    def _string(self, pointer: str) -> str:
        start = self.at
        try:
            value, self.at = scanstring(self.text, start + 1, True)
        except JSONDecodeError as error:
            syntax.refuse_string(self, error)
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            message = "half of a surrogate pair stands alone: no text can hold it"
            self.fault("lone-surrogate", message, Span(start, self.at), pointer)
        return str(value)

    def _scalar(self, pointer: str) -> Any:
        span = self.word()
        word = self.text[span.start : span.end]
        number = _NUMBER.fullmatch(word)
        if not (number or word in _LITERALS or word in NOT_FINITE):
            syntax.refuse_value(self)
        self.at = span.end
        if number:
            return self._number(number, span, pointer)
        if word in NOT_FINITE:
            self.fault("not-finite", f"{word} is not a JSON number", span, pointer)
        return _LITERALS.get(word)

    def _number(self, match: re.Match[str], span: Span, pointer: str) -> int | float | None:
        if match["fraction"] or match["exponent"]:
            value = float(match[0])
            if isinf(value):
                self.fault("not-finite", f"{match[0]} is larger than a double can hold", span, pointer)
            return value
        if len(match[0]) > 300:
            self.fault("not-finite", f"a number of {len(match[0])} digits", span, pointer)
            return None
        return int(match[0])

    def _duplicate(self, key: str, pointer: str, span: Span) -> None:
        first = self.lines.locate(self.keys[pointer])
        hint = f"first given at line {first.line}, column {first.column}: keep one"
        self.fault("duplicate-key", f'"{key}" is given twice', span, pointer, hint)
        for stale in [known for known in self.values if known.startswith(f"{pointer}/")]:
            del self.values[stale]
            self.keys.pop(stale, None)
