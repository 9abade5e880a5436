"""A config file of another program as a mapping. YAML is read here alone: no other file of ours is YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location, first_line


def read_config(path: Path) -> dict[str, Any]:
    """The keys and values of the YAML (or JSON) file at `path`.

    Raises `InputError` where there is no such file, it is no YAML, or holds something else than keys.
    """
    import yaml

    where = Location(str(path))
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise InputError(Diagnostic("no-such-file", "there is no such file", where)) from None
    except UnicodeDecodeError:
        raise InputError(Diagnostic("not-utf8", "is not UTF-8", where)) from None
    except OSError as error:
        told = Diagnostic("unreadable-config", f"cannot be read: {error.strerror or error}", where)
        raise InputError(told) from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(_no_yaml(error, str(path), text)) from None
    if not isinstance(values, dict) or not values:
        message = "holds no keys and values" if values else "is empty"
        raise InputError(Diagnostic("unreadable-config", message, where, hint=_WHAT))
    return {str(key): value for key, value in values.items()}


_WHAT = "a config of trl, alignment-handbook, axolotl or llamafactory-cli: YAML"


def _no_yaml(error: Exception, file: str, text: str) -> Diagnostic:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = Location(file)
    if mark is not None:
        lines = text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else None
        where = Location(file, mark.line + 1, mark.column + 1, text=line)
    return Diagnostic("unreadable-config", f"is not YAML: {problem or first_line(error)}", where, hint=_WHAT)
