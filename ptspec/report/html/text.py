"""Foreign text and data made safe to stand in a page: what a model said is shown, never obeyed.

Markup is Jinja2's business (autoescape); here goes what escaping leaves: invisible characters, script data.
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
    """`text` with control, bidirectional and other invisible characters by their code ("⟨U+202E⟩").

    Line breaks and tabs stay. Longer than `longest` characters, it is cut, and says so.
    """
    whole = text.replace("\r\n", "\n")
    shown = whole if longest is None else whole[:longest]
    shown = _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", shown)
    shown = _SURROGATES.sub("\ufffd", shown)
    left = len(whole) - len(whole if longest is None else whole[:longest])
    return f"{shown} … ({left:,} more characters)" if left else shown


def script_data(value: Any) -> Markup:
    """`value` as JSON for a `<script type="application/json">`: it cannot end the element.

    Raises `ValueError` for a number that JSON has no word for.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_SURROGATES.sub("\ufffd", text).translate(_IN_SCRIPT))


def source_hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style with this text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def highlighted(value: Any) -> Markup:
    """`value` as indented JSON with keys and values marked up."""
    text = visible(json.dumps(value, ensure_ascii=False, indent=2))
    parts = [_marked(match) for match in _TOKENS.finditer(text)]
    return Markup("").join(parts)


def _marked(match: re.Match[str]) -> Markup:
    for kind in ("key", "value"):
        if match[kind]:
            return Markup('<span class="{}">{}</span>').format(kind, match[kind])
    return escape(match[0])
