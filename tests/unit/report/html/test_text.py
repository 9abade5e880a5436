"""Untrusted text in a page is escaped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_pages import HOSTILE

from ptspec.report.html.text import highlighted, script_data, visible


@given(st.text() | st.sampled_from(HOSTILE))
def test_embedded_json_comes_back_and_cannot_leave_its_element(text):
    embedded = script_data({"text": text})
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert json.loads(embedded) == {"text": text}


def test_a_lone_surrogate_does_not_stop_the_page():
    assert json.loads(script_data("a\ud800b")) == "a\ufffdb"
    assert visible("a\ud800b") == "a\ufffdb"


def test_no_number_without_a_word_in_json():
    with pytest.raises(ValueError, match="JSON"):
        script_data(float("nan"))


def test_what_cannot_be_seen_is_shown_by_its_code():
    assert visible("a\u202eb\x00c\x1b") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+001B⟩"
    assert visible("a\r\nb\tc\n") == "a\nb\tc\n"
    assert visible("a\rb") == "a⟨U+000D⟩b"


@given(st.text())
def test_visible_leaves_no_control_character(text):
    assert not [c for c in visible(text) if (c < " " and c not in "\n\t") or "\u202a" <= c <= "\u202e"]


def test_a_long_text_is_cut_and_says_so():
    assert visible("x" * 20, 5) == "xxxxx … (15 more characters)"
    assert visible("xxxxx", 5) == "xxxxx"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_a_highlighted_recipe_is_the_same_text(value):
    import html
    import re

    plain = html.unescape(re.sub(r'<span class="(?:key|value)">|</span>', "", highlighted(value)))
    assert plain == visible(json.dumps(value, ensure_ascii=False, indent=2))
