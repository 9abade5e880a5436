from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptspec.report.clean import clean, escaped


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain, é, 中文, 👩‍🚀", "plain, é, 中文, 👩‍🚀"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hhome", "home"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]52;c;aGVsbG8=\x1b\\clipboard", "clipboard"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x9b31mc1", "c1"),
        ("\x1b(0charset", "charset"),
        ("unfinished \x1b]0;kept", "unfinished 0;kept"),
        ("a\rb\nc\td\x0be\u2028f", "a b c d e f"),
        ("back\x08\x08space\x7f", "backspace"),
        ("\u202eevil\u202c \u2066x\u2069", "evil x"),
        ("\ud800 surrogate", "\ufffd surrogate"),
        ("tag\U000e0041s", "tags"),
        ("end\x1b", "end"),
    ],
)
def test_clean(text, cleaned):
    assert clean(text) == cleaned


def test_lines_are_kept_where_asked():
    assert clean("a\r\nb\rc\u2029d", keep_lines=True) == "a\nb\nc\nd"


@given(st.text(st.characters()) | st.text("\x1b[]0;m\x07\x9b\\PX^_ a\u202e\n"))
def test_nothing_unsafe_is_left(text):
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in cleaned)
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain, é, 中文, 👩‍🚀\n", "plain, é, 中文, 👩‍🚀\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\tb\r\nc\x85d\u2028e", "a\\tb\\r\nc\\x85d\\u2028e"),
        ("\u202eevil\ud800", "\\u202eevil\\ud800"),
    ],
)
def test_what_is_not_to_be_seen_is_written_out(text, written):
    assert escaped(text) == written


@given(st.text(st.characters()))
def test_what_is_written_out_is_safe_for_a_terminal(text):
    assert clean(escaped(text), keep_lines=True) == escaped(text)
