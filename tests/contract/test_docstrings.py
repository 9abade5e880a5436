"""A public function's docstring names each exception class that its body raises. Ruff holds the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptspec
from ptspec.diagnostics import PtError

PACKAGE = Path(ptspec.__file__).parent
# Docstrings of commands are what --help prints; their errors end in cli.main.
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if "commands" not in file.parts]


def functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """The public functions of a module, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def raised(node: ast.AST, caught: frozenset[str] = frozenset()) -> Iterator[str]:
    """The classes that a function's own statements raise and do not catch by name."""
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if isinstance(error, ast.Name) and error.id[0].isupper() and not error.id.isupper():
            yield from {error.id} - caught
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        within = caught
        if isinstance(node, ast.Try) and child in node.body:
            handled = (name for handler in node.handlers if handler.type for name in ast.walk(handler.type))
            within = caught | {name.id for name in handled if isinstance(name, ast.Name)}
            within |= {one.__name__ for one in PtError.__subclasses__()} if "PtError" in within else set()
        yield from raised(child, within)


def unnamed(source: str) -> list[str]:
    found = []
    for function in functions(ast.parse(source).body):
        told = ast.get_docstring(function) or ""
        found += [f"{function.name}: {name}" for name in raised(function) if name not in told]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_the_exceptions_that_a_function_raises_are_named(file):
    assert unnamed(file.read_text("utf-8")) == []


def test_what_a_function_catches_itself_need_not_be_named():
    source = '''
def loud():
    """Return nothing."""
    raise KeyError("x")

def quiet():
    """Return nothing."""
    try:
        raise KeyError("x")
    except KeyError:
        pass

def documented():
    """Return nothing. Raises `KeyError`."""
    raise KeyError("x")

def _private():
    raise KeyError("x")
'''
    assert unnamed(source) == ["loud: KeyError"]
