"""The chat template that SFT uses under `assistant_only_loss`, which marks the assistant's tokens.

TRL 1.16 recognises published templates by their exact text, and has a version with {% generation %} blocks
for most (`trl.chat_template_utils.get_training_chat_template`). Read from TRL's files without importing it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from ptspec.recipe.chat_templates import TRAINING, shipped

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marks_answers(template: str) -> bool:
    """Return whether the template marks the assistant's tokens ({% generation %})."""
    return _MARKS.search(template) is not None


def training_template(template: str) -> str | None:
    """Return the template if it marks the assistant's tokens, else TRL's version; None if TRL refuses it."""
    return template if marks_answers(template) else _twins().get(template)


@cache
def _twins() -> Mapping[str, str]:
    """Return each template of TRL that has a training version, and that version."""
    files = shipped()
    pairs = ((files[name], files[name + TRAINING]) for name in files if name + TRAINING in files)
    return {original.read_text("utf-8"): twin.read_text("utf-8") for original, twin in pairs}
