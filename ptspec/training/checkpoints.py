"""Checkpoints that can be trusted: sealed with the hash of every file when written, verified before they are
read. One that was cut off by a crash has no seal; a damaged one is set aside and the one before is used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ptspec.run.artifact import write_json

SEAL = "sealed.json"
PREFIX = "checkpoint-"


def seal(checkpoint: Path) -> None:
    """Writes down the SHA-256 of every file of a checkpoint that has just been written."""
    write_json(checkpoint / SEAL, _hashes(checkpoint))


def last_sound(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are what was sealed, and what to say of newer ones that are not.

    A damaged one is renamed out of the way; one without a seal was being written when the run ended.
    """
    told: list[str] = []
    for checkpoint in sorted(checkpoints.glob(f"{PREFIX}*"), key=step_of, reverse=True):
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint, told
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        checkpoint.rename(aside)
        told.append(f"{checkpoint.name} {fault}; it was set aside as {aside.name}")
    return None, told


def _fault(checkpoint: Path) -> str | None:
    try:
        sealed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not finished"
    except (OSError, ValueError):
        return "has an unreadable seal"
    found = _hashes(checkpoint)
    changed = sorted(name for name, digest in sealed.items() if found.get(name) != digest)
    return f"is damaged ({changed[0]})" if changed else None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {
        str(path.relative_to(checkpoint)): _hash(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != SEAL
    }


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name; −1 where it has none."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
