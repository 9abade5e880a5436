"""Make text from models, data and files safe for a terminal.

A completion may contain escape sequences that move the cursor, set the window's title or write the clipboard,
and bidirectional overrides that disguise a line. None of that reaches the screen.
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
_OPEN = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*\x1b?$(?!\n)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*$(?!\n)"
    r"|\x1b[ -/]*$(?!\n)"
)
"""An incomplete escape sequence at the end of a text."""
_OPEN_BREAK = re.compile(r"\r\x00*$(?!\n)")
_UNSEEN = re.compile(f"(?!\n)(?:{_CONTROLS.pattern}|[\t\r\x0b\x0c\x85\u2028\u2029\ud800-\udfff])")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Return `text` without escape sequences, control characters and invisible formatting characters.

    Tabs become a space; line breaks too, unless `keep_lines`. Lone surrogates become U+FFFD, so that the
    result can always be encoded.
    """
    text = _ESCAPES.sub("", text)
    text = _BREAKS.sub("\n" if keep_lines else " ", text)
    text = _CONTROLS.sub("", text.replace("\t", " "))
    return _SURROGATES.sub("\ufffd", text)


def escaped(text: str) -> str:
    r"""Return `text` with invisible characters as escapes ("\x1b", "\u202e"); line feeds stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class CleanStream:
    """`clean` for a text in pieces, keeping lines: the joined results equal `clean` of the whole."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """Return the part of the text so far that is certain and not yet returned."""
        text = self._held + piece
        open_at = _OPEN.search(text)
        safe = len(text) if open_at is None else open_at.start()
        masked = _ESCAPES.sub(lambda found: "\x00" * len(found[0]), text[:safe])
        if half := _OPEN_BREAK.search(masked):
            safe = half.start()
        self._held = text[safe:]
        return clean(text[:safe], keep_lines=True)

    def end(self) -> str:
        """Return the rest at the end of the text."""
        rest, self._held = self._held, ""
        return clean(rest, keep_lines=True)
