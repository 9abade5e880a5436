"""What other programs call the keys of a recipe, as one table: what the messages of `pt validate` say."""

from __future__ import annotations

import field_tables

from ptspec.recipe.other_programs import PLACES, RENAMED, WORDS

INTRO = """# Keys of other tools, by name

A key of TRL's scripts, alignment-handbook, open-r1, axolotl, LLaMA-Factory or ms-swift that stands in a
recipe is an error that says where it goes. This is all that it says, by the other tool's key, in lower case.
"""


def page() -> str:
    """Markdown."""
    said = {
        **{key: f"`{field}`" for key, field in RENAMED.items()},
        **{key: f"`{pointer}`" for key, pointer in PLACES.items()},
        **{key: field_tables.plain(words) for key, words in WORDS.items() if words},
    }
    rows = "\n".join(f"| `{key}` | {said[key]} |" for key in sorted(said))
    return f"{INTRO}\n| key | here |\n|---|---|\n{rows}\n"
