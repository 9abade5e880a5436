"""Our scanner against the standard library's, on JSON and on what is almost JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptspec.diagnostics import InputError
from ptspec.recipe.json_pointer import at, split
from ptspec.recipe.scanner import MAX_DEPTH, Scanner

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
SPACE = st.sampled_from(["", " ", "\n", "\r\n\t "])
TOKENS = (
    *("{", "}", "[", "]", ",", ":", '"', "'", "/", "\\", "\\u00e9", "\\n", " ", "\n", "\x00", "\u2028", "é"),
    *("0", "1", "-", ".5", "1.5", "1e3", "1e999", "E", "+", "true", "nul", "null", "NaN"),
)


@st.composite
def almost_json(draw):
    """JSON with a few characters exchanged for a token, or a few tokens in a row."""
    if draw(st.booleans()):
        return "".join(draw(st.lists(st.sampled_from(TOKENS), max_size=8)))
    text = json.dumps(draw(VALUES))
    start = draw(st.integers(0, len(text)))
    return text[:start] + draw(st.sampled_from(TOKENS)) + text[start + draw(st.integers(0, 2)) :]


def refuse(name: str) -> Any:
    raise ValueError(name)


def strict(text: str) -> Any:
    """What the standard library reads, with what it is lenient about refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    def finite(text: str) -> float:
        return float(text) if math.isfinite(float(text)) else refuse(text)

    value = json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=unique)
    # Half a surrogate pair cannot be encoded; the error is a ValueError.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def same(left: Any, right: Any) -> bool:
    """Equal, with 1, 1.0 and true told apart."""
    return repr(left) == repr(right)


@given(VALUES, SPACE, st.booleans())
def test_it_reads_what_json_writes(value, space, ascii_only):
    text = space + json.dumps(value, ensure_ascii=ascii_only, indent=1 if space else None) + space
    scanner = Scanner(text, "f")
    assert same(scanner.read(), strict(text))
    assert not scanner.faults


@settings(max_examples=600)
@given(almost_json())
@example("[1,]")
@example('{"a":1,}')
@example("1e999")
@example("[-0, 1E400]")
def test_it_refuses_what_strict_json_refuses(text):
    try:
        expected, refused = strict(text), False
    except ValueError:
        expected, refused = None, True
    scanner = Scanner(text, "f")
    try:
        found = scanner.read()
    except InputError as error:
        assert refused
        assert all(d.location is not None and d.location.line for d in error.diagnostics)
        return
    assert refused == bool(scanner.faults)
    assert refused or same(found, expected)


@given(VALUES)
def test_every_span_is_the_text_of_its_value_and_key(value):
    text = json.dumps(value, indent=2)
    scanner = Scanner(text, "f")
    read = scanner.read()
    for pointer, span in scanner.values.items():
        assert same(json.loads(text[span.start : span.end]), at(read, pointer) if pointer else read)
    for pointer, span in scanner.keys.items():
        assert json.loads(text[span.start : span.end]) == split(pointer)[-1]


@given(st.integers(1, 2 * MAX_DEPTH))
def test_depth_is_capped(depth):
    try:
        Scanner("[" * depth + "]" * depth, "f").read()
    except InputError as error:
        assert depth > MAX_DEPTH
        assert error.diagnostics[0].code == "too-deep"
    else:
        assert depth <= MAX_DEPTH
