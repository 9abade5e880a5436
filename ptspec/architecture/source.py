"""The source files of an installed package, parsed: tables of constants and classes, without an import."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def folder_of(package: str) -> Path | None:
    """Where a top-level package is installed; None where it is not."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


@cache
def parsed(file: Path) -> ast.Module | None:
    """The syntax tree of a file; None where it cannot be read or is no Python."""
    try:
        return ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


def library_file(package: str, name: str) -> Path:
    """The path of a file of a package ("models/auto/modeling_auto.py"), whether it exists or not."""
    return (folder_of(package) or Path(package)) / name


@cache
def table(package: str, name: str, variable: str) -> Mapping[str, Any]:
    """A module's constant mapping, written as a dict or as `OrderedDict([...])`; {} where it is neither.

    Parses its lines alone: the whole of a module of thousands of lines takes a tenth of a second.
    """
    try:
        text = library_file(package, name).read_text("utf-8")
        lines = re.search(rf"^{variable}\b[^\n]*=.*?(?:^[)}}\]]+$|\Z)", text, re.DOTALL | re.MULTILINE)
        body = ast.parse(lines[0]).body if lines else []
    except (OSError, ValueError, SyntaxError):
        return {}
    values = [node.value for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return _literal(values[0]) if len(body) == 1 and values and values[0] is not None else {}


@cache
def local_constant(package: str, name: str, function: str, variable: str) -> Any:
    """What a function of a module sets a local variable to, written as a literal; None where it does not."""
    tree = parsed(library_file(package, name))
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Assign) and _target(inner) == variable:
                    return ast.literal_eval(inner.value)
    return None


def _target(node: ast.Assign | ast.AnnAssign) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else None


def _literal(node: ast.expr) -> Mapping[str, Any]:
    if isinstance(node, ast.Call):
        node = node.args[0] if node.args else node
    try:
        return dict(ast.literal_eval(node))
    except (ValueError, TypeError):
        return {}
