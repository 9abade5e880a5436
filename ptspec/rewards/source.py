"""Static reading of the user's reward and judge functions from their syntax tree. Runs nothing.

The only static reader of such files: whether a name is bound, and with which signature.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import Places, is_file
from ptspec.rewards.contract import Kind, signature_fault

NOT_PYTHON = (SyntaxError, ValueError, OSError, RecursionError, MemoryError)
"""Exceptions of compiling a file that is not Python."""

_DYNAMIC = ("*", "__getattr__")
"""Bindings that may provide any name: a star import, and module `__getattr__`."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class UserFile:
    """The statements of a Python file that bind each top-level name, also in branches and blocks."""

    path: Path
    bindings: dict[str, list[ast.stmt]]

    def may_bind(self, name: str) -> bool:
        """Return False only if the file certainly has no `name`."""
        return any(known in self.bindings for known in (name, *_DYNAMIC))

    def statement(self, name: str) -> ast.stmt | None:
        """Return the statement that binds `name`; None if it is not one statement of this file."""
        found = self.bindings.get(name, [])
        return found[0] if len(found) == 1 else None

    def signature(self, name: str) -> inspect.Signature | None:
        """Return the signature of the function `name`; None if only running the file would tell.

        For a decorated, imported or assigned function, or one that several statements bind.
        """
        found = self.statement(name)
        if isinstance(found, Definition) and not found.decorator_list:
            return _signature(found.args)
        return None


def read_user_file(path: Path, pointer: str | None = None) -> UserFile:
    """Return the file at `path`. Raises `InputError` (`not-python`) with `pointer` if it cannot be parsed."""
    try:
        bindings: dict[str, list[ast.stmt]] = {}
        for name, statement in _bound(ast.parse(path.read_bytes())):
            bindings.setdefault(name, []).append(statement)
    except NOT_PYTHON as error:
        raise InputError(not_python(path, error, pointer)) from error
    return UserFile(path, bindings)


def is_user_function(text: str) -> bool:
    """Return whether a recipe's "function" is the user's ("file.py:name") rather than a built-in name."""
    return ":" in text


def locate(text: str, places: Places | None = None) -> tuple[Path, str]:
    """Return the file and the name of "file.py:name"; if no file exists, the first possible place."""
    file, _, name = text.rpartition(":")
    candidates = _places(places).candidates(file)
    return next((path for path in candidates if is_file(path)), candidates[0]), name


def check_user_function(text: str, kind: Kind, at: str, places: Places | None = None) -> Diagnostic | None:
    """Return what is wrong with "file.py:name", found without running the file; else None.

    Checks that the file exists and is Python, that it binds the name, and the signature of a plain function.
    `at` is the pointer of the reward or judge.
    """
    path, name = locate(text, places)
    pointer = join(at, "function")
    if not is_file(path):
        return no_such_file(text, pointer, places)
    try:
        file = read_user_file(path, pointer)
    except InputError as error:
        return error.diagnostics[0]
    if not file.may_bind(name):
        return no_such_function(path, name, tuple(file.bindings), pointer)
    return _definition_fault(file, name, kind, pointer)


def _definition_fault(file: UserFile, name: str, kind: Kind, pointer: str) -> Diagnostic | None:
    found, signature = file.statement(name), file.signature(name)
    if isinstance(found, ast.ClassDef):
        fault: str | None = "it is a class, not a function"
    else:
        fault = signature_fault(signature, kind) if signature is not None else None
    if fault is None or found is None:
        return None
    return wrong_signature(file.path, name, fault, kind, line_of(str(file.path), found.lineno), pointer)


def line_of(file: str, number: int) -> Location:
    """Return line `number` of `file`, underlined as a whole."""
    text = linecache.getline(file, number).rstrip("\n")
    bare = text.strip()
    column = text.index(bare) + 1 if bare else None
    return Location(file, number, column, max(1, len(bare)), text or None)


def _bound(node: ast.AST, statement: ast.stmt | None = None) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that the module `node` binds at top level, with their statements.

    "*" for a star import.

    Bodies of functions and classes, and comprehensions, are scopes of their own.
    """
    for part in ast.iter_child_nodes(node):
        inner = part if isinstance(part, ast.stmt) else statement
        if isinstance(part, Definition | ast.ClassDef):
            yield part.name, part
        elif isinstance(part, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.partition(".")[0], part) for alias in part.names)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and inner is not None:
            yield part.id, inner
        elif isinstance(part, ast.comprehension | ast.Lambda) or _is_declaration(part):
            continue
        else:
            yield from _bound(part, inner)


def _is_declaration(node: ast.AST) -> bool:
    """Return whether a statement is `name: type` without a value, which binds nothing."""
    return isinstance(node, ast.AnnAssign) and node.value is None


def _signature(arguments: ast.arguments) -> inspect.Signature:
    kinds = inspect.Parameter
    given: list[tuple[ast.arg, Any]] = [(a, kinds.POSITIONAL_ONLY) for a in arguments.posonlyargs]
    given += [(a, kinds.POSITIONAL_OR_KEYWORD) for a in arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(given) - len(arguments.defaults)) + arguments.defaults
    if arguments.vararg:
        given.append((arguments.vararg, kinds.VAR_POSITIONAL))
        defaults.append(None)
    given += [(a, kinds.KEYWORD_ONLY) for a in arguments.kwonlyargs]
    defaults += arguments.kw_defaults
    if arguments.kwarg:
        given.append((arguments.kwarg, kinds.VAR_KEYWORD))
        defaults.append(None)
    return inspect.Signature(
        [
            inspect.Parameter(argument.arg, how, default=kinds.empty if default is None else default)
            for (argument, how), default in zip(given, defaults, strict=True)
        ]
    )


def _places(places: Places | None) -> Places:
    return places or Places(Path.cwd(), Path.cwd())


def no_such_file(text: str, pointer: str, places: Places | None) -> Diagnostic:
    """Return the error for a missing file of "file.py:name"."""
    file, where = text.rpartition(":")[0], _places(places)
    message, hint = f'no such file: "{file}"', where.nearest(file)
    return Diagnostic("no-such-file", message, pointer=pointer, hint=hint, notes=where.looked(file))


def no_such_function(file: Path, name: str, known: tuple[str, ...], pointer: str) -> Diagnostic:
    """Return the error for a missing function, without location: `pointer` leads to the recipe's word."""
    hint = did_you_mean(name, known) or f"functions there: {listed(known) or 'none'}"
    message = f'no function "{name}" in {shown(file)}'
    return Diagnostic("no-such-function", message, pointer=pointer, hint=hint)


def wrong_signature(
    file: Path, name: str, fault: str, kind: Kind, place: Location | None, pointer: str
) -> Diagnostic:
    """Return the error for a function that cannot be called as `kind`."""
    message = f'"{name}" cannot be a {kind.value}: {fault}'
    return Diagnostic("wrong-signature", message, place or Location(str(file)), pointer, kind.signature)


def not_python(file: Path, error: BaseException, pointer: str | None) -> Diagnostic:
    """Return the error for a file that cannot be parsed."""
    place = Location(str(file))
    if isinstance(error, SyntaxError) and error.lineno:
        text = (error.text or "").rstrip("\n") or None
        place = Location(str(file), error.lineno, error.offset or None, 1, text)
    reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    return Diagnostic("not-python", f"{shown(file)} cannot be read as Python: {reason}", place, pointer)
