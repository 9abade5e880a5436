"""Text from models, data and files made safe for a terminal.

A completion may hold escape sequences that move the cursor, set the window's title or write the clipboard,
and bidirectional overrides that make a line read as something else. None of that reaches the screen.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\x1b[ -/]*[0-~]?"  # the other escapes
)
_BREAKS = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f"
    r"\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean(text: str, *, keep_lines: bool = False) -> str:
    """`text` without escape sequences, control characters, bidirectional and other invisible controls.

    Tabs become a space; line breaks too, unless `keep_lines`. Lone surrogates become U+FFFD, so that the
    result can always be encoded.
    """
    text = _ESCAPES.sub("", text)
    text = _BREAKS.sub("\n" if keep_lines else " ", text)
    text = _CONTROLS.sub("", text.replace("\t", " "))
    return _SURROGATES.sub("\ufffd", text)
