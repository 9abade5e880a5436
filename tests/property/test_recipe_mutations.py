"""Any leaf of a good recipe deleted, misspelt or mistyped is told at its place or at what encloses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptspec.diagnostics import Severity
from ptspec.recipe.json_pointer import ancestors, at, join, split
from ptspec.recipe.resolve import read_recipe
from ptspec.rewards.check import check_functions

ROOT = Path(__file__).parent.parent.parent
RECIPES = [ROOT / "recipes" / name for name in ("all_methods.json", "sft_reward_grpo.json")]

# Without these a recipe is as good: a default counts, or another key says enough.
OPTIONAL = frozenset(
    ("version", "description", "seed", "weight", "on_fail", "over", "from", "max_new_tokens")
)
OPTIONAL_IN = ("/name", "/adapter/", "/compute/", "/tracking/", "/eval/samples", "/eval/metrics")


def leaves(value: Any, pointer: str = "") -> Iterator[str]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, join(pointer, key))
    elif not split(pointer)[-1].startswith("$"):
        yield pointer


def load(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def parent(value: Any, pointer: str) -> tuple[Any, Any]:
    """The container of `pointer` in `value`, and the key or index in it."""
    above, key = at(value, pointer.rpartition("/")[0]), split(pointer)[-1]
    return above, int(key) if isinstance(above, list) else key


LEAVES = [(file, leaf) for file in RECIPES for leaf in leaves(load(file))]
KEYS = sorted({(f, p) for f, leaf in LEAVES for p in ancestors(leaf) if p and not split(p)[-1].isdecimal()})
# The name of a source or a reward is the user's to choose.
SPELT = [
    (f, p) for f, p in KEYS if not (p.count("/") == 2 and p.startswith(("/data/", "/rewards/", "/judges/")))
]
REQUIRED = [
    (f, p)
    for f, p in LEAVES
    if isinstance(parent(load(f), p)[0], dict)
    and split(p)[-1] not in OPTIONAL
    and not p.startswith(OPTIONAL_IN)
    and "config" not in split(p)
]


def named(value: Any) -> str:
    return value.stem if isinstance(value, Path) else value


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The pointers of the errors in a changed recipe."""
    monkeypatch.chdir(ROOT)

    def told(value: Any) -> list[str]:
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(value, indent=1))
        reading = read_recipe(file)
        rewards = check_functions(reading.partial) if reading.partial else ()
        return [d.pointer or "" for d in (*reading.diagnostics, *rewards) if d.severity is Severity.ERROR]

    return told


@pytest.mark.parametrize(("file", "leaf"), LEAVES, ids=named)
@pytest.mark.parametrize("wrong", [{"an": "object"}, [["a list"]]], ids=["object", "list"])
def test_mistyped(told, file, leaf, wrong):
    value = load(file)
    above, key = parent(value, leaf)
    above[key] = wrong
    assert any(place.startswith(leaf) for place in told(value))


@pytest.mark.parametrize(("file", "pointer"), SPELT, ids=named)
def test_misspelt(told, file, pointer):
    value = load(file)
    above, key = parent(value, pointer)
    above[f"{key}_x"] = above.pop(key)
    places = told(value)
    # Of a reward without its function nothing else can be judged.
    assert f"{pointer}_x" in places or (
        pointer.startswith("/rewards/") and pointer.rpartition("/")[0] in places
    )


@pytest.mark.parametrize(("file", "leaf"), REQUIRED, ids=named)
def test_deleted(told, file, leaf):
    value = load(file)
    above, key = parent(value, leaf)
    del above[key]
    enclosing = leaf.rpartition("/")[0]
    assert any(place in ("", enclosing, f"{enclosing}/function") for place in told(value))
