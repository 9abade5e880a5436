"""Parse the source files of an installed package: tables of constants and classes, without importing it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any


@cache
def folder_of(package: str) -> Path | None:
    """Return the folder of a top-level package; None if it is not installed."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


@cache
def parsed(file: Path) -> ast.Module | None:
    """Return the syntax tree of a file; None if it cannot be read or parsed."""
    try:
        return ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


@cache
def _text(file: Path) -> str:
    """Return a file's text after an empty line; "" if it cannot be read."""
    try:
        return "\n" + file.read_text("utf-8")
    except (OSError, ValueError):
        return ""


_DEFINED = re.compile(r"\n(?:class (?P<klass>\w+)|(?P<constant>\w+)\s*=(?!=))")
_IMPORTED = re.compile(r"\nfrom \.+[\w.]* import\b")
_COLON = re.compile(":")
_NEXT = {indent: re.compile(rf"\n {{0,{indent}}}[^\s#)\]}}\"']") for indent in (0, 4)}
"""The next statement of a module, or of a class: no closing bracket, comment, or end of a string. All begin
with the end of the line before, which is looked for faster than ^."""


@cache
def _places(file: Path) -> Mapping[str, list[re.Match[str]]]:
    """The first lines of what may be the classes and constants of a module, by name."""
    found: dict[str, list[re.Match[str]]] = {}
    for one in _DEFINED.finditer(_text(file)):
        found.setdefault(one["klass"] or one["constant"], []).append(one)
    return found


def defines_class(file: Path, name: str) -> bool:
    """Return whether a module defines a class of this name at its top level."""
    places = _places(file).get(name, [])
    return bool(places[0]["klass"]) if len(places) == 1 else isinstance(defined(file, name), ast.ClassDef)


@cache
def defined(file: Path, name: str) -> ast.ClassDef | ast.Assign | None:
    """Return the last class or constant of this name in a module; None if it defines none.

    Parses its lines alone: a whole module of thousands of lines takes a tenth of a second. Some of several
    candidate lines may lie in a string.
    """
    places = _places(file).get(name, [])
    if len(places) > 1:
        tree = parsed(file)
        nodes: list[ast.stmt | None] = [*tree.body] if tree else []
    else:
        nodes = [_statement(_text(file), one.start()) for one in places]
    found = [node for node in nodes if _is_called(node, name)]
    node = found[-1] if found else None
    return node if isinstance(node, ast.ClassDef | ast.Assign) else None


def _is_called(node: ast.stmt | None, name: str) -> bool:
    if isinstance(node, ast.Assign):
        return _target(node) == name
    return isinstance(node, ast.ClassDef) and node.name == name


@cache
def bases(file: Path, name: str) -> tuple[ast.expr, ...]:
    """Return the base class expressions of a class. Parses its first line alone."""
    places = _places(file).get(name, [])
    if len(places) == 1 and places[0]["klass"]:
        text, begin = _text(file), places[0].start()
        for colon in _COLON.finditer(text, begin):
            try:
                (node,) = ast.parse(f"{text[begin : colon.start()]}: ...").body
            except (SyntaxError, ValueError):
                continue  # a colon among the arguments
            return _bases(node)
    return _bases(defined(file, name))


def _bases(node: ast.stmt | None) -> tuple[ast.expr, ...]:
    return tuple(node.bases) if isinstance(node, ast.ClassDef) else ()


@cache
def may_set(file: Path, name: str) -> bool:
    """Return whether any class of a module may set a constant `name`, by searching for such a line."""
    return re.search(rf"\n    {re.escape(name)}\s*[:=]", _text(file)) is not None


@cache
def imported(file: Path) -> tuple[ast.ImportFrom, ...]:
    """Return a module's relative imports, wherever they stand in the package."""
    found = (_statement(_text(file), one.start()) for one in _IMPORTED.finditer(_text(file)))
    return tuple(node for node in found if isinstance(node, ast.ImportFrom))


def _statement(text: str, begin: int, indent: int = 0) -> ast.stmt | None:
    """Return the statement with this indentation on the line after `begin`; None if there is none."""
    end = begin + 1
    while end < len(text):
        after = _NEXT[indent].search(text, end)
        end = after.start() + 1 if after else len(text)
        try:
            lines = text[begin:end]
            return ast.parse(dedent(lines) if indent else lines).body[0]
        except (SyntaxError, ValueError):
            continue  # a string goes on over a line that looks like the next statement
    return None


def library_file(package: str, name: str) -> Path:
    """Return the path of a file of a package ("models/auto/modeling_auto.py"), existing or not."""
    return (folder_of(package) or Path(package)) / name


@cache
def table(package: str, name: str, variable: str) -> Mapping[str, Any]:
    """Return a module's constant mapping, a dict or `OrderedDict([...])` literal; {} if it is neither.

    Parses its lines alone: a whole module of thousands of lines takes a tenth of a second.
    """
    try:
        body = ast.parse(_table_lines(package, name, variable)).body
    except (ValueError, SyntaxError):
        return {}
    values = [node.value for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return _literal(values[0]) if len(body) == 1 and values and values[0] is not None else {}


def _table_lines(package: str, name: str, variable: str) -> str:
    """The lines that set a module's constant; "" where there are none."""
    text = _text(library_file(package, name))
    lines = re.search(rf"^{variable}\b[^\n]*=.*?(?:^[)}}\]]+$|\Z)", text, re.DOTALL | re.MULTILINE)
    return lines[0] if lines else ""


@cache
def entry(package: str, name: str, variable: str, key: str) -> Any:
    """Return the value of `key` in a `table`; None if it has none.

    Of an `OrderedDict([...])` with a pair per line only that line is parsed: the tables of transformers' auto
    classes have hundreds.
    """
    lines = _table_lines(package, name, variable)
    first = _PAIR.search(lines)
    if first is None:
        return table(package, name, variable).get(key)
    found = [*re.finditer(rf"^{first[1]}(?=\(\s*{re.escape(json.dumps(key))},)", lines, re.MULTILINE)]
    begin = found[-1].end() if found else len(lines)  # the last of two counts, as in a dict
    for closing in _CLOSING.finditer(lines, begin):
        try:
            return ast.literal_eval(lines[begin : closing.end()])[1]
        except SyntaxError:
            continue  # of a tuple within the pair
        except ValueError:
            break
    return None


_PAIR = re.compile(r"^( +)\(", re.MULTILINE)
_CLOSING = re.compile(r"\)")


@cache
def local_constant(package: str, name: str, function: str, variable: str) -> Any:
    """Return the literal that a function assigns to a local variable; None if there is none."""
    text = _text(library_file(package, name))
    for found in re.finditer(rf"\n((?:    )?)def {re.escape(function)}\b", text):
        node = _statement(text, found.start(), len(found[1]))
        for inner in ast.walk(node) if node is not None else ():
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
