"""The supported layouts by their columns, and which serve a method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ptspec.methods.types import Rows

CHATS = ("messages", "conversations")
"""Columns that hold a whole chat."""

PROMPTS = ("prompt", *CHATS, "instruction")
"""Columns that hold a prompt, alone or in a whole chat."""

ANSWERS = ("completion", "output")
"""Columns that hold the answer to a prompt beside them."""

TEMPLATE = ("tools", "chat_template_kwargs")
"""Columns for the chat template besides the messages."""

CONTEXT = ("system", "history", *TEMPLATE)
"""Columns that belong to a row's text in every layout."""

BESIDE = ("input", *CONTEXT)
"""Columns that belong to a row's text besides those of its layout."""

MEDIA = ("image", "images", "audio", "audios", "video", "videos")
"""Columns that a language model cannot read."""

WITHHELD = ("prompt", "completion", "completion_ids")
"""Columns that TRL does not pass to rewards: an online method's rewards receive all others."""


@dataclass(frozen=True)
class Layout:
    """A set of columns that can serve a method; the first of `LAYOUTS` that is present is used.

    `is_listed`: messages that list a method's layouts name it.
    """

    columns: tuple[str, ...]
    is_listed: bool = True

    def fits(self, present: frozenset[str]) -> bool:
        """Return whether all its columns are present."""
        return present.issuperset(self.columns)

    @cached_property
    def prompt(self) -> str | None:
        """The column with the prompt, alone or in a whole chat; None if the answers contain it."""
        return next((name for name in PROMPTS if name in self.columns), None)

    @cached_property
    def answer(self) -> str | None:
        """The column with the answer beside a prompt; None if there is none, or the chat contains it."""
        return next((name for name in ANSWERS if name in self.columns), None)

    @property
    def is_pair(self) -> bool:
        """Whether it holds preference pairs."""
        return "rejected" in self.columns

    @property
    def has_label(self) -> bool:
        """Whether it holds KTO's labels."""
        return "label" in self.columns

    @property
    def words(self) -> str:
        """Its columns in words: "prompt + chosen + rejected"."""
        return " + ".join(self.columns)


_PAIRS = (
    Layout(("prompt", "chosen", "rejected")),
    Layout(("conversations", "chosen", "rejected"), is_listed=False),
    Layout(("messages", "chosen", "rejected"), is_listed=False),
    Layout(("instruction", "chosen", "rejected"), is_listed=False),
    Layout(("chosen", "rejected")),
)

LAYOUTS: dict[Rows, tuple[Layout, ...]] = {
    Rows.PROMPT_COMPLETION: (
        Layout(("messages",)),
        Layout(("conversations",)),
        Layout(("instruction", "output")),
        Layout(("prompt", "completion")),
        Layout(("text",)),
    ),
    Rows.PREFERENCE: _PAIRS,
    Rows.UNPAIRED_PREFERENCE: (
        Layout(("prompt", "completion", "label")),
        Layout(("messages", "label")),
        Layout(("conversations", "label"), is_listed=False),
        Layout(("instruction", "output", "label"), is_listed=False),
        *_PAIRS,
    ),
    Rows.PROMPT_ONLY: (
        Layout(("prompt",)),
        Layout(("messages",)),
        Layout(("conversations",)),
        Layout(("instruction",)),
    ),
}


def layout_for(rows: Rows, present: frozenset[str]) -> Layout | None:
    """Return the layout of the columns `present` for a method that needs `rows`, or None."""
    return next((layout for layout in LAYOUTS[rows] if layout.fits(present)), None)


def wanted(rows: Rows) -> str:
    """Return the fitting layouts in words: "prompt + chosen + rejected, or chosen + rejected"."""
    return ", or ".join(layout.words for layout in LAYOUTS[rows] if layout.is_listed)
