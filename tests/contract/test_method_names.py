"""Every fact about a method stands in its own file: no other module names one in a literal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ptspec
from ptspec import methods

PACKAGE = Path(ptspec.__file__).parent
WORDS = {"reward", "distillation"}
"""Methods whose names are words of the language too: only a literal that is nothing else names the method."""

ALLOWED = {
    "commands/about.py": "an example of what --method takes",
    "commands/options.py": "an example of a path in a recipe",
    "recipe/overrides.py": "an example of a path in a recipe",
    "recipe/other_programs.py": "`reward`, `orpo_alpha`, …: keys of other programs; a loss called `sft`",
    "recipe/sections.py": "`reward`: a key of a judge",
    "starter/from_configs/llamafactory.py": "values of LLaMA-Factory's `pref_loss`; a loss called `sft`",
    "rewards/contract.py": "`reward`: a kind of function",
    "rewards/time_limit.py": "`reward`: a key of a message to a worker",
    "rewards/worker.py": "`reward`: a key of a message to a worker",
    "training/signal.py": "`reward`: what TRL logs",
}


def literals(file: Path) -> Iterator[str]:
    """The string constants of a module that are no docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    documented = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def names_in(text: str) -> set[str]:
    own = set(methods.METHODS) - WORDS
    return {text} & WORDS | {name for name in own if re.search(rf"\b{name}\b", text)}


def test_no_other_file_names_a_method():
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).as_posix()
        if not place.startswith(("methods/", "training/nash_md/")):
            named = {name for text in literals(file) for name in names_in(text)}
            if named:
                found[place] = named
    assert {place: named for place, named in found.items() if place not in ALLOWED} == {}
    assert set(ALLOWED) - set(found) == set(), "no exception is left that nothing needs"


def test_a_method_that_forgets_a_fact_cannot_be_made():
    """No field has a default, so that a new method has to say each."""
    import dataclasses

    from ptspec.methods import types

    for kind in (types.Method, types.Tokens, types.Loss, types.Reference, types.Sampling, types.Starter):
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING, (kind.__name__, field.name)
            assert field.default_factory is dataclasses.MISSING, (kind.__name__, field.name)
