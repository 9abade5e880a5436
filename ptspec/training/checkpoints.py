"""Verified checkpoints: written beside, sealed with the hash of every file, renamed, verified when read.

A damaged checkpoint is set aside and the one before it is used.
"""

from __future__ import annotations

import json
import shutil
from enum import Enum
from pathlib import Path

from ptspec.recipe.plan import ComputeSpec
from ptspec.store.file_hashes import read_hash
from ptspec.store.files import open_to_umask, read_json, write_json

SEAL = "sealed.json"
PREFIX = "checkpoint-"
TRAINER_STATE = "trainer_state.json"
WRITING = ".writing"
"""The folder in which a checkpoint is written; its contents at the start of a run are incomplete."""


def publish_checkpoint(written: Path, checkpoints: Path) -> None:
    """Seal a written checkpoint with the SHA-256 of its files and rename it.

    An existing one of the same step is equal and kept.
    """
    final = checkpoints / written.name
    if final.exists():
        shutil.rmtree(written)
        return
    open_to_umask(written)
    write_json(written / SEAL, _hashes(written))
    written.rename(final)


def rotate(checkpoints: Path, keep: int | None, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`; None keeps all."""
    if keep is not None and keep > 0:
        for old in _newest_first(checkpoints)[keep:]:
            if step_of(old) != best:
                shutil.rmtree(old)


def remove_checkpoints(checkpoints: Path) -> None:
    """Remove every checkpoint of a trained stage."""
    for checkpoint in _newest_first(checkpoints):
        shutil.rmtree(checkpoint)


def last_sound(checkpoints: Path, *, with_best: bool = False) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint with unchanged files, and messages about damaged newer ones.

    `with_best`: the best checkpoint that it names must exist and be unchanged too. Damaged ones are renamed.
    """
    told: list[str] = []
    for checkpoint in _newest_first(checkpoints):
        fault = fault_of(checkpoint) or (_lacks_best(checkpoint) if with_best else None)
        if fault is None:
            return checkpoint, told
        aside = _free(checkpoint.with_name(f"damaged-{checkpoint.name}"))
        checkpoint.rename(aside)
        told.append(f"{checkpoint.name} {fault}; it was set aside as {aside.name}")
    return None, told


def _newest_first(checkpoints: Path) -> list[Path]:
    return sorted(checkpoints.glob(f"{PREFIX}*"), key=step_of, reverse=True)


def _free(path: Path) -> Path:
    """Return `path`, with a number if it exists."""
    candidates = (path, *(path.with_name(f"{path.name}.{number}") for number in range(2, 1000)))
    return next(candidate for candidate in candidates if not candidate.exists())


def best_step(checkpoint: Path) -> int | None:
    """Return the best step so far when `checkpoint` was written; None without evaluations."""
    value = read_json(checkpoint / TRAINER_STATE).get("best_global_step")
    return value if isinstance(value, int) and value > 0 else None


def forget_path_of_best(written: Path) -> None:
    """Remove from a checkpoint transformers' path of the best one, which has been renamed since."""
    file = written / TRAINER_STATE
    state = read_json(file)
    if state.get("best_model_checkpoint") is not None:
        text = json.dumps({**state, "best_model_checkpoint": None}, indent=2, sort_keys=True)
        file.write_text(text + "\n", encoding="utf-8")


def _lacks_best(checkpoint: Path) -> str | None:
    best = best_step(checkpoint)
    if best is None or best == step_of(checkpoint):
        return None
    fault = fault_of(checkpoint.with_name(f"{PREFIX}{best}"))
    return f"names step {best} as the best so far, whose checkpoint {fault}" if fault else None


def fault_of(checkpoint: Path) -> str | None:
    """Return why a checkpoint's files differ from the sealed ones; None if they do not."""
    if not checkpoint.is_dir():
        return "is not there"
    try:
        sealed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not finished"
    except (OSError, ValueError):
        return "has an unreadable seal"
    if not isinstance(sealed, dict):
        return "has an unreadable seal"
    found = _hashes(checkpoint)
    changed = sorted(name for name in {*sealed, *found} if found.get(name) != sealed.get(name))
    return f"is damaged ({changed[0]})" if changed else None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {
        str(path.relative_to(checkpoint)): read_hash(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != SEAL
    }


def rows_a_pass(checkpoint: Path) -> int | None:
    """Return the rows per pass and device when `checkpoint` was written; None if not stored."""
    value = read_json(checkpoint / TRAINER_STATE).get("train_batch_size")
    return value if isinstance(value, int) else None


class Written(Enum):
    """The engine that wrote a checkpoint, and alone can read it. The value is its display name."""

    WHOLE = "a training of whole weights"
    FSDP = "several processes with FSDP"
    ZERO_2 = "several processes with DeepSpeed's ZeRO-2"
    ZERO_3 = "several processes with DeepSpeed's ZeRO-3"

    @classmethod
    def by(cls, compute: ComputeSpec) -> Written:
        """Return the engine of a stage with this `compute`."""
        if compute.engine == "deepspeed":
            return cls.ZERO_3 if compute.zero_stage == 3 else cls.ZERO_2
        return cls.FSDP if compute.engine == "fsdp" else cls.WHOLE

    @property
    def is_deepspeed(self) -> bool:
        """Whether DeepSpeed wrote it."""
        return self in (Written.ZERO_2, Written.ZERO_3)


def written_by(checkpoint: Path) -> Written:
    """Return the engine that wrote `checkpoint`, from its file names."""
    if any(checkpoint.glob("pytorch_model_fsdp*")):
        return Written.FSDP
    if any(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt")):
        return Written.ZERO_3
    return Written.ZERO_2 if any(checkpoint.glob("global_step*")) else Written.WHOLE


def processes_of(checkpoint: Path) -> int:
    """Return how many processes wrote `checkpoint`: each stores its random state."""
    return len(list(checkpoint.glob("rng_state_*.pth"))) or 1


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name; −1 if it has none."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
