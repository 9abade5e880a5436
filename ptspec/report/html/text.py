"""Escape untrusted text and JSON for HTML.

Jinja2 escapes markup (autoescape); here are invisible characters and script data.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from typing import Any

from markupsafe import Markup, escape

_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TOKENS = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<value>"(?:[^"\\]|\\.)*"|[-\w.+]+)|[\s{}\[\],:]+')
_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

LONGEST = 1500


def visible(text: str, longest: int | None = None) -> str:
    """Return `text` with control, bidirectional and invisible characters as codes ("⟨U+202E⟩").

    Line breaks and tabs stay. Truncated to `longest` characters, with a remark.
    """
    whole = text.replace("\r\n", "\n")
    shown = whole if longest is None else whole[:longest]
    shown = _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", shown)
    shown = _SURROGATES.sub("\ufffd", shown)
    left = len(whole) - len(whole if longest is None else whole[:longest])
    return f"{shown} … ({left:,} more characters)" if left else shown


def script_data(value: Any) -> Markup:
    """Return `value` as JSON for `<script type="application/json">`, unable to end the element.

    Raises `ValueError` for a number that JSON cannot express.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_SURROGATES.sub("\ufffd", text).translate(_IN_SCRIPT))


def source_hash(text: str) -> str:
    """Return the Content-Security-Policy hash of an inline script or style."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def highlighted(value: Any) -> Markup:
    """Return `value` as indented JSON with keys and values marked up."""
    text = visible(json.dumps(value, ensure_ascii=False, indent=2))
    parts = [_marked(match) for match in _TOKENS.finditer(text)]
    return Markup("").join(parts)


def _marked(match: re.Match[str]) -> Markup:
    for kind in ("key", "value"):
        if match[kind]:
            return Markup('<span class="{}">{}</span>').format(kind, match[kind])
    return escape(match[0])
