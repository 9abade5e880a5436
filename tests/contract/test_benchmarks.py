"""The scripts in benchmarks/ name what there is: modules, what they take of these, each other, and options.

Nothing is run: they take hours, and some need libraries that are not installed here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.rglob("*.py"))
ELSEWHERE = {"axolotl", "llamafactory", "lm_eval", "oumi", "swift", "unsloth", "vllm"}
"""Extras, and other programs in environments of their own."""
TOLD_IN = (
    *(ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(BENCHMARKS.rglob("*.md")),
    *SCRIPTS,
)


def trees(script: Path) -> Iterator[ast.Module]:
    """The code of a script, and the programs that it holds as strings."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            try:
                yield ast.parse(node.value)
            except SyntaxError:
                continue  # words


def file_of(module: str, roots: tuple[Path, ...]) -> Path | None:
    """The file of a module that lies in one of `roots`; of a folder without one its place."""
    for root in roots:
        place = root.joinpath(*module.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
        if place.is_dir() and any(place.glob("*.py")):
            return place
    return None


@cache
def names_of(file: Path) -> frozenset[str] | None:
    """What a module has at its top, its submodules too; None where only running it would tell."""
    inside = file if file.is_dir() else file.parent if file.name == "__init__.py" else None
    found = {one.stem for one in inside.iterdir()} if inside else set()
    if file.is_dir():
        return frozenset(found)
    open_blocks: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while open_blocks:
        for node in ast.iter_child_nodes(open_blocks.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {(one.asname or one.name).split(".")[0] for one in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            else:
                open_blocks.append(node)
    return None if found & {"*", "__getattr__"} else frozenset(found | {"__file__", "__name__", "__doc__"})


def may_fail(tree: ast.Module) -> set[ast.AST]:
    """The imports of a `try` that goes on without them."""
    tries = (node for node in ast.walk(tree) if isinstance(node, ast.Try))
    caught = (
        node
        for node in tries
        if any("ImportError" in ast.dump(one.type) for one in node.handlers if one.type is not None)
    )
    return {inner for node in caught for line in node.body for inner in ast.walk(line)}


def missing(tree: ast.Module, script: Path) -> Iterator[str]:
    """What the code takes from modules of this repository, and that they do not have."""
    roots = (*put_on_path(tree), ROOT, script.parent, *script.parents[1:2], BENCHMARKS)
    modules: dict[str, Path] = {}
    passed_over, own = may_fail(tree), own_names(tree)
    for node in ast.walk(tree):
        if node in passed_over:
            continue
        if isinstance(node, ast.Import):
            for one in node.names:
                file = file_of(one.name, roots)
                if file is None and not is_installed(one.name):
                    yield f"import {one.name}"
                elif file is not None and ("." not in one.name or one.asname):
                    modules[one.asname or one.name] = file
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            found = relative(script, node) if node.level else file_of(name, roots)
            if found is None:
                if node.level or not is_installed(name):
                    yield f"from {'.' * node.level}{name} import …"
                continue
            known = names_of(found)
            for one in node.names:
                if known is not None and one.name not in known and one.name != "*":
                    yield f"from {name} import {one.name}"
                elif (inner := file_of(f"{name}.{one.name}", roots)) is not None:
                    modules[one.asname or one.name] = inner
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            known = names_of(modules[node.value.id])
            if known is not None and node.attr not in known and node.value.id not in own:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Constant) and re.fullmatch(r"ptspec(\.[a-z_]+)+", str(node.value)):
            place, _, last = str(node.value).rpartition(".")
            holder = file_of(place, (ROOT,))
            if holder is None or last not in (names_of(holder) or {last}):
                yield str(node.value)


def put_on_path(tree: ast.Module) -> list[Path]:
    """The folders that the code puts before those where Python looks: ROOT / "tests", say."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.Expr) and "sys.path" in ast.unparse(node):
            words = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
            found += [ROOT / one for one in words if isinstance(one, str) and (ROOT / one).is_dir()]
    return found


def relative(script: Path, node: ast.ImportFrom) -> Path | None:
    folder = script.parents[node.level - 1]
    return file_of(node.module, (folder,)) if node.module else folder


def is_installed(module: str) -> bool:
    """Whether a module is none of this repository's: it is installed, or may be missing."""
    top = module.split(".")[0]
    return top != "ptspec" and (top in ELSEWHERE or find_spec(top) is not None)


def own_names(tree: ast.Module) -> set[str]:
    """What the code itself calls something, so that it may be no module: arguments and variables."""
    nodes = list(ast.walk(tree))
    stored = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return stored | {one.arg for one in nodes if isinstance(one, ast.arg)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: str(one.relative_to(BENCHMARKS)))
def test_what_a_benchmark_takes_is_there(script):
    found = [one for tree in trees(script) for one in missing(tree, script)]
    assert not found, f"{script.relative_to(ROOT)}: {', '.join(found)}"


@pytest.mark.parametrize("file", TOLD_IN, ids=lambda one: str(one.relative_to(ROOT)))
def test_a_benchmark_that_is_described_is_there_with_its_options(file):
    text = file.read_text(encoding="utf-8")
    for name, rest in re.findall(r"(benchmarks/[\w/]+\.(?:py|sh|json))([^`\n]*)", text):
        assert (ROOT / name).is_file(), f"{name} is not there"
        script = (ROOT / name).read_text(encoding="utf-8")
        given = re.findall(r"(?<![\w-])--[a-z][\w-]*", re.split(r"[#;|:]", rest)[0])
        lacking = [option for option in given if f'"{option}"' not in script]
        assert not lacking, f"{name} has no {', '.join(lacking)}"
