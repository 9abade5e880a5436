"""Chat templates that other programs use by name."""

from __future__ import annotations

from ptspec.recipe.chat_templates import template_names
from ptspec.starter.from_configs.draft import Draft


def carry_template(draft: Draft, key: str, name: str) -> None:
    """Carry the chat template `name` where TRL ships one of that name; else say that the model's is taken."""
    known = {_plain(one): one for one in template_names()}
    if (found := known.get(_plain(name))) is not None:
        draft.carry(key, "/model/chat_template", found)
        return
    why = (
        "the model's own chat template is taken; /model/chat_template takes another: a file, a text or a name"
    )
    draft.leave(key, name, why)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
