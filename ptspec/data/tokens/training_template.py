"""The chat template that SFT trains with under `assistant_only_loss`: it has to mark the assistant's words.

TRL 1.16 knows published templates by their exact text, and holds a twin with {% generation %} blocks of most
(`trl.chat_template_utils.get_training_chat_template`). Read from TRL's files: nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from ptspec.recipe.chat_templates import TRAINING, shipped

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marks_answers(template: str) -> bool:
    """Whether the template says which tokens are the assistant's ({% generation %})."""
    return _MARKS.search(template) is not None


def training_template(template: str) -> str | None:
    """The template itself where it marks the assistant's words, else TRL's twin of it; None: TRL refuses."""
    return template if marks_answers(template) else _twins().get(template)


@cache
def _twins() -> Mapping[str, str]:
    """The text of each template of TRL's that has a twin, and the twin's."""
    files = shipped()
    pairs = ((files[name], files[name + TRAINING]) for name in files if name + TRAINING in files)
    return {original.read_text("utf-8"): twin.read_text("utf-8") for original, twin in pairs}
