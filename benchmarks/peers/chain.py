"""The chain that every peer runs, and what a peer is to the benchmark. Knows no peer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = ROOT / "data/base_model"
TRAIN = ROOT / "data/train.jsonl"

SEED = 42
STEPS = 20
BATCH = 8
MAX_LENGTH = 256
RANK = 16
ALPHA = 32
BETA = 0.1
SFT_RATE = 1e-3
DPO_RATE = 5e-4
SCHEDULE = "linear"


@dataclass(frozen=True)
class Peer:
    """A program of the benchmark.

    `commands` writes its input into a folder and returns its processes, to be run in order with the programs
    in the given `bin`; `sft` and `dpo` are where the adapters are saved, below that folder.
    """

    title: str
    package: str
    commands: Callable[[Path, Path], list[list[str]]]
    sft: str
    dpo: str
    environment: str | None = None
    """The name of its virtual environment; None: the one that runs this. What is installed there stands in
    requirements/NAME.txt, or in the three fields below."""
    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    """Installed after the requirements and without their own: packages that refuse this torch."""
    removed: tuple[str, ...] = ()
    """What is deleted below site-packages after the installation: parts for CUDA, which a torch for the
    processor cannot load and a text model does not need."""
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables of its processes."""
    uncounted: tuple[int, ...] = ()
    """Which of its processes are not among its costs: they join two commands that do not fit as they are."""


def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in TRAIN.read_text(encoding="utf-8").splitlines()]


def write_json(path: Path, value: object) -> str:
    """Writes `value` and returns the path as text. JSON is YAML too, so that this serves every peer."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return str(path)


def write_rows(path: Path, values: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(path)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
