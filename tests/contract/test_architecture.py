"""Modules import strictly lower ranks, there are no cycles, and validating loads nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptspec

PACKAGE = Path(ptspec.__file__).parent
ROOT = PACKAGE.parent
HEAVY = (
    *("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"),
    *("matplotlib", "numpy", "pandas", "pyarrow", "ray", "rich"),
)

# A package, or a module that stands outside of one.
RANKS = {
    "ptspec": 0,
    "ptspec.accelerator": 0,
    "ptspec.diagnostics": 0,
    "ptspec.events": 0,
    "ptspec.explain": 0,
    "ptspec.http_retries": 1,
    "ptspec.launched": 0,
    "ptspec.secrets": 0,
    "ptspec.hub": 1,
    "ptspec.generation_server": 2,
    "ptspec.architecture": 2,
    "ptspec.library_imports": 1,
    "ptspec.library_output": 1,
    "ptspec.methods": 1,
    "ptspec.metrics": 1,
    "ptspec.processes": 1,
    "ptspec.shipped": 1,
    "ptspec.schemagen": 2,
    "ptspec.recipe": 3,
    "ptspec.data": 4,
    "ptspec.store": 5,
    "ptspec.model": 6,
    "ptspec.performance": 6,
    "ptspec.estimate": 7,
    "ptspec.rewards": 7,
    "ptspec.checks": 8,
    "ptspec.starter": 8,
    "ptspec.training": 8,
    "ptspec.evaluation": 9,
    "ptspec.launch": 9,
    "ptspec.run": 10,
    "ptspec.worker": 11,
    "ptspec.report": 11,
    "ptspec.chat": 12,
    "ptspec.api": 12,
    "ptspec.commands": 13,
    "ptspec.cli": 14,
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def rank(module: str) -> int:
    while module not in RANKS:
        module = module.rpartition(".")[0]
    return RANKS[module]


def package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(module: str) -> Iterator[str]:
    """Our own modules that `module` imports, lazily too; not those for the type checker alone."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("ptspec"):
                yield name if name in MODULES else name.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_lower_ranks_and_its_own_package(module):
    upward = [
        other
        for other in imports(module)
        if rank(other) >= rank(module) and package(other) != package(module) and other != "ptspec"
    ]
    assert upward == []


def test_there_are_no_import_cycles():
    graph = {module: set(imports(module)) - {module, "ptspec"} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "recipes/sft_dpo.json"],
        ["plan", "recipes/sft_dpo.json"],
        ["rows", "recipes/sft_dpo.json"],
        ["methods"],
        ["runs"],
        ["doctor"],
        ["explain"],
        ["explain", "unknown-key"],
        ["methods", "dpo"],
        ["--help"],
        ["schema"],
    ],
    ids=" ".join,
)
def test_a_light_command_loads_nothing_heavy(arguments):
    program = (
        "import sys\n"
        "from ptspec.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


UNASKED = (
    *("ptspec.commands.chat", "ptspec.commands.evaluate", "ptspec.commands.rows"),
    *("ptspec.checks.hub", "ptspec.data.readers.hub_rows", "ptspec.hub.connection", "ptspec.hub.repository"),
    *("ptspec.data.readers.columnar", "ptspec.data.readers.delimited", "ptspec.data.readers.json_rows"),
    *("ptspec.data.readers.remote", "ptspec.data.stream.pieces"),
    *("ptspec.checks.matrix", "ptspec.checks.reward_values", "ptspec.rewards.by_column"),
    *("ptspec.rewards.endpoint_checks", "ptspec.recipe.merges", "ptspec.recipe.overrides"),
    *("ptspec.recipe.wording", "ptspec.recipe.other_programs", "ptspec.checks.refused_rows"),
    *("ptspec.performance.choice", "ptspec.estimate.rowcount", "ptspec.store.stage_folder"),
    *("ptspec.architecture.conversion", "ptspec.architecture.quantizers"),
)
"""What a sound recipe of files on this machine, without a matrix and a merge, does not ask for."""


def test_validating_imports_what_the_recipe_asks_for():
    program = (
        "import sys\n"
        "from ptspec.cli import main\n"
        "try:\n    main(['validate', 'recipes/sft_dpo.json'])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*(name for name in sys.modules if name.startswith('ptspec.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert set(UNASKED) <= set(MODULES)
    assert set(UNASKED).isdisjoint(loaded)
    assert len(loaded) <= 175


def test_no_test_imports_from_conftest():
    """pytest gives that name to another file where a folder with a conftest of its own comes first."""
    imports = re.compile(r"^(from|import) conftest\b", re.MULTILINE)
    files = (ROOT / "tests").rglob("*.py")
    assert not [path.name for path in files if imports.search(path.read_text("utf-8"))]


def test_no_file_is_longer_than_350_lines():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert not {str(path.relative_to(PACKAGE)): lines for path, lines in lengths.items() if lines > 350}
