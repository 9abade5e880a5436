"""The doctor command: look at the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import typer

from ptspec import __version__
from ptspec.commands.options import say, show, tell
from ptspec.diagnostics import Diagnostic, Exit, Severity

_KEPT = "\u00a0"
"""A space that does not break a line."""
LITTLE = 5e9
"""Bytes of free disk space below which a run of a real model is likely to fill the disk."""


def doctor() -> None:
    """Look at this machine: device, versions, extras, disk.

    Exits with 1 where something is wrong that a run would meet. Imports torch only where there is a GPU that
    it should see.
    """
    from ptspec.checks.gpu import look_for_gpu
    from ptspec.checks.installation import extras, faults, needed
    from ptspec.report.words import size

    packages, gpu = needed(), look_for_gpu(lambda: say("asking torch for the GPU …"))
    system = f"{platform.system()} {platform.machine()}"
    show(f"ptspec    {__version__} · Python {sys.version.split()[0]} · {system}")
    memory = _memory()
    show(f"device    {gpu.words}{f' · {size(memory)} of memory' if memory else ''}")
    fitting = [f"{one.name} {one.found}" for one in packages if one.fits]
    _show_list("packages", fitting or ["not known: ptspec is not installed as a package"])
    found = extras()
    _show_list("extras", [one.name for one in found if not one.missing] or ["none"])
    for one in found:
        if one.missing:
            show(f'  without {", ".join(one.missing)}: no {one.purpose} (pip install "ptspec[{one.name}]")')
    places = {"here": Path.cwd(), "in the hub's cache": _hub_cache()}
    free = {name: _free(path) for name, path in places.items()}
    show(f"disk      {' · '.join(f'{size(bytes)} free {name}' for name, bytes in free.items())}")
    show(f"hub       {_hub()}")
    told = [*faults(packages), *_disk(free), *([gpu.fault] if gpu.fault else [])]
    tell(told)
    if any(one.severity is Severity.ERROR for one in told):
        raise typer.Exit(Exit.FAILED)
    say("nothing is wrong here" if not told else "nothing that stops a run")


def _show_list(name: str, parts: list[str]) -> None:
    """Print the parts in lines as wide as the terminal, without breaking a part."""
    whole = " · ".join(part.replace(" ", _KEPT) for part in parts)
    width = shutil.get_terminal_size((100, 24)).columns
    lines = textwrap.wrap(whole, max(width - 10, 20), break_on_hyphens=False, break_long_words=False)
    for number, line in enumerate(lines):
        show(f"{'' if number else name:10}{line.replace(_KEPT, ' ')}")


def _memory() -> int | None:
    """Return the bytes of this machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _free(path: Path) -> int:
    """Return the free bytes of the file system of `path`, existing or not."""
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def _disk(free: dict[str, int]) -> Iterator[Diagnostic]:
    from ptspec.report.words import size

    for name, bytes in free.items():
        if bytes < LITTLE:
            message = f"{size(bytes)} are free {name}: a real model and its checkpoints take more"
            hint = "pt plan RECIPE says how much a run takes; HF_HOME moves the cache"
            yield Diagnostic("disk-low", message, hint=hint, severity=Severity.WARNING)


def _hub() -> str:
    from ptspec.hub.connection import obstacle

    why = obstacle()
    return "can be reached" if why is None else f"is not asked ({why})"
