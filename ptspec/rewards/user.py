"""The user's reward and judge functions, named "my_rewards.py:brevity" in the recipe.

`check_user_function` reads the file without running it. `load_user_function` runs it, if that was allowed.
Neither calls the function; `ptspec.rewards.checked` does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.places import Places
from ptspec.recipe.text import join
from ptspec.rewards.judges import SIGNATURES

_NO_PYTHON = (SyntaxError, ValueError, OSError, RecursionError, MemoryError)


class Kind(Enum):
    """What a function is for. A reward is called by name (as TRL does), a judge by position."""

    REWARD = "reward"
    JUDGE = "judge"


def is_user_function(text: str) -> bool:
    """Whether a recipe's "function" is the user's ("file.py:name") rather than a built-in one's name."""
    return ":" in text


def check_user_function(text: str, kind: Kind, at: str, places: Places | None = None) -> Diagnostic | None:
    """What is wrong with "file.py:name", found without running the file; None where nothing is to be seen.

    Looks at whether the file is there and is Python, whether it binds the name, and, where the name is that
    of a plain function, whether its signature will do. `at` is the pointer of the reward or judge.
    """
    file, name = _located(text, places)
    pointer = join(at, "function")
    if not file.is_file():
        return _no_such_file(text, pointer, places)
    try:
        bound = dict(_bindings(ast.parse(file.read_bytes()).body))
    except _NO_PYTHON as error:
        return _not_python(file, error, pointer)
    if name not in bound:
        return None if "*" in bound else _no_such_function(file, name, tuple(bound), pointer)
    return _definition_fault(file, bound[name], kind, pointer)


def signature_fault(signature: inspect.Signature, kind: Kind) -> str | None:
    """Why a function with `signature` cannot be called as a reward or judge, or None."""
    if kind is Kind.JUDGE:
        try:
            signature.bind("prompts", "a", "b")
        except TypeError as error:
            return f"it cannot be called with three arguments: {error}"
        return None
    parameters = signature.parameters.values()
    by_name = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unnamed = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if unnamed:
        return f'"{unnamed[0]}" cannot be given by name'
    if "completions" not in by_name and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return 'it takes no "completions"'
    return None


def load_user_function(
    text: str, kind: Kind, *, allow_code: bool, at: str, places: Places | None = None
) -> Callable[..., Any]:
    """The function that "file.py:name" names; its file is run.

    Raises `InputError`: `code-not-allowed` without `allow_code`; where the file fails, with its line; where
    the name is no function, or one of another signature.
    """
    file, name = _located(text, places)
    pointer = join(at, "function")
    if not file.is_file():
        raise InputError(_no_such_file(text, pointer, places))
    if not allow_code:
        raise InputError(_not_allowed(file, name, kind, pointer))
    module = _run(file, pointer)
    if not hasattr(module, name):
        raise InputError(_no_such_function(file, name, _functions_of(module), pointer))
    function: Callable[..., Any] = getattr(module, name)
    if fault := _function_fault(function, kind):
        raise InputError(_wrong_signature(file, name, fault, kind, place_of(function), pointer))
    return function


def place_of(function: Callable[..., Any]) -> Location | None:
    """Where `function` is defined; None for what has no source of its own (C, `partial`, an instance)."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else _line(code.co_filename, code.co_firstlineno)


def raised_at(error: BaseException, file: str) -> Location | None:
    """The line of `file` that `error` came out of, the innermost one; None if it went past none."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return _line(file, lines[-1]) if lines and lines[-1] else None


def _line(file: str, number: int) -> Location:
    text = linecache.getline(file, number).rstrip("\n")
    bare = text.strip()
    column = text.index(bare) + 1 if bare else None
    return Location(file, number, column, max(1, len(bare)), text or None)


def _located(text: str, places: Places | None) -> tuple[Path, str]:
    file, _, name = text.rpartition(":")
    candidates = _places(places).candidates(file)
    return next((path for path in candidates if path.is_file()), candidates[0]), name


def _places(places: Places | None) -> Places:
    return places or Places(Path.cwd(), Path.cwd())


def _bindings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Names that a module binds at its top level with the statement that does; "*" for a star import."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.partition(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            yield from ((part.id, node) for part in named)
        else:
            for part in ast.iter_child_nodes(node):
                inner = part.body if isinstance(part, ast.ExceptHandler) else [part]
                yield from _bindings([statement for statement in inner if isinstance(statement, ast.stmt)])


def _definition_fault(file: Path, node: ast.stmt, kind: Kind, pointer: str) -> Diagnostic | None:
    """A decorator may give another signature, and an assignment anything: that is seen once the file runs."""
    if isinstance(node, ast.ClassDef):
        fault: str | None = "it is a class, not a function"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
        fault = signature_fault(_signature(node.args), kind)
    else:
        return None
    place = _line(str(file), node.lineno)
    return _wrong_signature(file, node.name, fault, kind, place, pointer) if fault else None


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


def _function_fault(function: object, kind: Kind) -> str | None:
    if inspect.isclass(function):
        return "it is a class, not a function"
    if not callable(function):
        return f"it is a {type(function).__name__}, not a function"
    try:
        return signature_fault(inspect.signature(function), kind)
    except (TypeError, ValueError):
        return None


def _run(file: Path, pointer: str) -> ModuleType:
    """The module of `file`, run once a process for the contents it has now. Its folder joins `sys.path`, at
    the end, so that it can import what lies beside it without taking the place of a library."""
    source = file.read_bytes()
    name = f"ptspec_user_{file.stem}_{hashlib.sha256(str(file).encode() + source).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    try:
        code = compile(source, str(file), "exec", dont_inherit=True)
    except _NO_PYTHON as error:
        raise InputError(_not_python(file, error, pointer)) from error
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, file
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(_not_run(file, error, pointer)) from error
    return module


def _functions_of(module: ModuleType) -> tuple[str, ...]:
    return tuple(name for name, value in vars(module).items() if inspect.isfunction(value))


def _no_such_file(text: str, pointer: str, places: Places | None) -> Diagnostic:
    file, where = text.rpartition(":")[0], _places(places)
    message, hint = f'no such file: "{file}"', where.nearest(file)
    return Diagnostic("no-such-file", message, pointer=pointer, hint=hint, notes=where.looked(file))


def _no_such_function(file: Path, name: str, known: Sequence[str], pointer: str) -> Diagnostic:
    hint = did_you_mean(name, known) or f"there: {listed(known) or 'none'}"
    message = f'no function "{name}" in {shown(file)}'
    return Diagnostic("no-such-function", message, Location(str(file)), pointer, hint)


def _not_allowed(file: Path, name: str, kind: Kind, pointer: str) -> Diagnostic:
    return Diagnostic(
        "code-not-allowed",
        f'the {kind.value} "{name}" is Python code in {shown(file)}, and the recipe may not run code',
        pointer=pointer,
        hint=f"read {shown(file)}, then give the command --allow-code",
    )


def _wrong_signature(
    file: Path, name: str, fault: str, kind: Kind, place: Location | None, pointer: str
) -> Diagnostic:
    message = f'"{name}" cannot be a {kind.value}: {fault}'
    return Diagnostic(
        "wrong-signature", message, place or Location(str(file)), pointer, SIGNATURES[kind.value]
    )


def _not_python(file: Path, error: BaseException, pointer: str) -> Diagnostic:
    place = Location(str(file))
    if isinstance(error, SyntaxError) and error.lineno:
        text = (error.text or "").rstrip("\n") or None
        place = Location(str(file), error.lineno, error.offset or None, 1, text)
    reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    return Diagnostic("not-python", f"{shown(file)} cannot be read as Python: {reason}", place, pointer)


def _not_run(file: Path, error: BaseException, pointer: str) -> Diagnostic:
    message = f"{shown(file)} fails when it is imported: {type(error).__name__}: {error}"
    place = raised_at(error, str(file)) or Location(str(file))
    return Diagnostic("failing-import", message, place, pointer)
