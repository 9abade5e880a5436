"""Load the user's reward and judge functions, named "my_rewards.py:brevity" in the recipe.

`load_user_function` runs the file, if allowed, without calling the function; `ptspec.rewards.checked` calls
it. `ptspec.rewards.source` does what needs no running.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.json_pointer import join, split
from ptspec.recipe.paths import Places, is_file
from ptspec.rewards.contract import Kind, signature_fault
from ptspec.rewards.source import (
    NOT_PYTHON,
    line_of,
    locate,
    no_such_file,
    no_such_function,
    not_python,
    wrong_signature,
)


def load_user_function(
    text: str, kind: Kind, *, allow_code: bool, at: str, places: Places | None = None
) -> Callable[..., Any]:
    """Run the file of "file.py:name" and return the function.

    Raises `InputError`: `code-not-allowed` without `allow_code`; if the file fails, with its line; if the
    name is not a function, or has another signature.
    """
    file, name = locate(text, places)
    pointer = join(at, "function")
    if not is_file(file):
        raise InputError(no_such_file(text, pointer, places))
    if not allow_code:
        raise InputError(_not_allowed(file, name, kind, at, pointer))
    module = _run(file, pointer)
    if not hasattr(module, name):
        raise InputError(no_such_function(file, name, _functions_of(module), pointer))
    function: Callable[..., Any] = getattr(module, name)
    if fault := _function_fault(function, kind):
        raise InputError(wrong_signature(file, name, fault, kind, place_of(function), pointer))
    return function


def place_of(function: Callable[..., Any]) -> Location | None:
    """Return where `function` is defined; None for one without source (C, `partial`, an instance)."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else line_of(code.co_filename, code.co_firstlineno)


def raised_at(error: BaseException, file: str) -> Location | None:
    """Return the innermost line of `file` that `error` passed through; None if there is none."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return line_of(file, lines[-1]) if lines and lines[-1] else None


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
    """Return the module of `file`, run once per process and contents.

    Its folder is appended to `sys.path`, so that it can import neighbouring files without shadowing
    libraries.
    """
    source = file.read_bytes()
    name = f"ptspec_user_{file.stem}_{hashlib.sha256(str(file).encode() + source).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    try:
        code = compile(source, str(file), "exec", dont_inherit=True)
    except NOT_PYTHON as error:
        raise InputError(not_python(file, error, pointer)) from error
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


def _not_allowed(file: Path, name: str, kind: Kind, at: str, pointer: str) -> Diagnostic:
    called = (split(at) or [name])[-1]
    within = "" if called == name else f' ("{name}")'
    code = f'the {kind.value} "{called}" is Python code in {shown(file)}{within}'
    return Diagnostic(
        "code-not-allowed",
        f"{code}, and the recipe may not run code",
        pointer=pointer,
        hint=f"read {shown(file)}, then give the command --allow-code",
    )


def _not_run(file: Path, error: BaseException, pointer: str) -> Diagnostic:
    message = f"{shown(file)} fails when it is imported: {type(error).__name__}: {error}"
    place = raised_at(error, str(file)) or Location(str(file))
    return Diagnostic("failing-import", message, place, pointer)
