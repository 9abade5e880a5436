"""Whatever becomes of a shipped recipe or of its data, `pt validate` ends with 0 or 2 and writes nothing.

Arbitrary JSON values in their place, and the shipped files with a part deleted, retyped, misspelt, given
twice or cut. In this process, on the first rows of the shipped data: a few milliseconds an example.
`benchmarks/changed_files.py` tries ten thousand.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from support.json_places import places

from ptspec.commands.recipes import validate

ROOT = Path(__file__).parent.parent.parent
RECIPES = sorted(path.relative_to(ROOT) for path in (ROOT / "recipes").glob("*.json"))
DATA = [Path("data/train.jsonl"), Path("data/eval.jsonl")]
SIZE = 6
"""Rows of the shipped data that are looked at."""

SHIPPED: dict[Path, Any] = {
    **{file: json.loads((ROOT / file).read_text("utf-8")) for file in RECIPES},
    **{file: (ROOT / file).read_text("utf-8").splitlines()[:SIZE] for file in DATA},
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["sft", "dpo", "base", "train", "..", "a:b", "x.py:f", "*", "[", "~", "/", "a\0b", "all-linear", "\ud800"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats()
    | TEXT
    | st.sampled_from([0, 1, -1, 1e-5])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EITHER = st.booleans()


class Twice(str):
    """A key that compares unequal to its own text, so that a dict holds both; JSON gets it twice."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def mutate(draw: Any, value: Any) -> None:
    """Changes one place of `value`."""
    container, key = draw(st.sampled_from(places(value)))
    match draw(st.sampled_from(["delete", "retype", "misspell", "duplicate"])):
        case "delete":
            del container[key]
        case "retype":
            container[key] = draw(VALUES)
        case "misspell" if isinstance(container, dict):
            position = draw(st.integers(0, len(key)))
            container[key[:position] + draw(TEXT) + key[position + 1 :]] = container.pop(key)
        case "duplicate" if isinstance(container, dict):
            container[Twice(key)] = draw(st.just(container[key]) | VALUES)
        case _:
            container.insert(0, copy.deepcopy(container[key]))


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


@st.composite
def texts(draw: Any, value: Any) -> str:
    """The text of `value` after one to three changes, or cut, or with something put into it."""
    value = copy.deepcopy(value)
    kind = draw(st.sampled_from(["change", "change", "change", "cut", "insert"]))
    if kind == "change":
        for _ in range(draw(st.integers(1, 3))):
            if places(value):
                mutate(draw, value)
        return written(value)
    text = written(value)
    position = draw(st.integers(0, len(text)))
    if kind == "cut":
        return text[:position]
    return (
        text[:position]
        + draw(st.sampled_from([",", '"', "{", "]", "\\", "//", "\n", "NaN", "\0"]))
        + text[position:]
    )


@st.composite
def files(draw: Any) -> tuple[Path, bytes]:
    """A shipped file, and what stands in its place."""
    if draw(EITHER):
        file = draw(st.sampled_from(RECIPES))
        value = SHIPPED[file]
        return file, draw(texts(value) if draw(st.integers(0, 5)) else VALUES.map(written)).encode()
    file = draw(st.sampled_from(DATA))
    rows = list(SHIPPED[file])
    row = draw(st.integers(0, SIZE - 1))
    changed = draw(texts(json.loads(rows[row])) if draw(st.integers(0, 5)) else VALUES.map(written))
    match draw(st.sampled_from(["one", "one", "all", "twice", "bytes"])):
        case "one":
            rows[row] = changed
        case "all":
            rows = [changed]
        case "twice":
            rows += [rows[row], changed]
        case _:
            return file, "\n".join(rows).encode() + draw(st.binary(max_size=8))
    return file, "\n".join(rows).encode()


@pytest.fixture(scope="module")
def folder():
    """The shipped recipes, the first rows of their data, their model; in memory where there is a place."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "data").mkdir()
    (folder / "data/base_model").symlink_to(ROOT / "data/base_model")
    for file in DATA:
        (folder / file).write_text("\n".join(SHIPPED[file]), "utf-8")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)
    shutil.rmtree(folder)


def told(recipe: Path) -> tuple[int, str]:
    """Exit code of `pt validate recipe`, and what it says; any other exception than typer's is a failure."""
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            validate([recipe])
        except typer.Exit as end:
            code = int(end.exit_code)
    return code, said.getvalue()


def listing() -> list[str]:
    return sorted(f"{top}/{name}" for top, _, names in os.walk(".") for name in names)


def check(changed: tuple[Path, bytes]) -> None:
    file, content = changed
    recipe = file if file in RECIPES else Path("recipes/sft_kto.json")
    good, before = file.read_bytes(), listing()
    try:
        file.write_bytes(content)
        code, said = told(recipe)
    finally:
        file.write_bytes(good)
    event(f"{file.parent}: exit {code}")
    assert code in (0, 2)
    assert ("error[" in said) is (code == 2), said
    assert listing() == before
    said.encode()


SETTINGS = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=int(os.environ.get("PT_EXAMPLES", "400")), **SETTINGS)
@given(files())
def test_a_changed_file_is_valid_or_faulty(folder, changed):
    check(changed)


def test_a_key_can_be_written_twice():
    assert json.dumps({"a": 1, Twice("a"): 2}) == '{"a": 1, "a": 2}'


def test_the_shipped_files_are_valid_as_they_are(folder):
    for recipe in RECIPES:
        code, said = told(recipe)
        assert code == 0 or "no-step" in said, said
