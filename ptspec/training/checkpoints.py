"""Checkpoints that can be trusted: written beside their place, sealed with the hash of every file, renamed,
and verified before they are read. A damaged one is set aside and the one before is used."""

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
"""The folder in which a checkpoint is made; what stands there when a run begins was cut off."""


def publish_checkpoint(written: Path, checkpoints: Path) -> None:
    """Seals a checkpoint that has been written, with the SHA-256 of its files, and gives it its name.

    One of the same step that stands there already is the same."""
    final = checkpoints / written.name
    if final.exists():
        shutil.rmtree(written)
        return
    open_to_umask(written)
    write_json(written / SEAL, _hashes(written))
    written.rename(final)


def rotate(checkpoints: Path, keep: int | None, best: int | None = None) -> None:
    """Removes all but the newest `keep` checkpoints and that of step `best`; None keeps all."""
    if keep is not None and keep > 0:
        for old in _newest_first(checkpoints)[keep:]:
            if step_of(old) != best:
                shutil.rmtree(old)


def remove_checkpoints(checkpoints: Path) -> None:
    """Removes every checkpoint: of a stage that is trained, whose weights stand beside them."""
    for checkpoint in _newest_first(checkpoints):
        shutil.rmtree(checkpoint)


def last_sound(checkpoints: Path, *, with_best: bool = False) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are what was sealed, and what to say of newer ones that are not.

    `with_best`: the checkpoint of the step that it names as the best must be there and sound too.

    A damaged one is renamed out of the way."""
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
    """`path`, or with a number after it where something of that name stands there."""
    candidates = (path, *(path.with_name(f"{path.name}.{number}") for number in range(2, 1000)))
    return next(candidate for candidate in candidates if not candidate.exists())


def best_step(checkpoint: Path) -> int | None:
    """The step whose evaluation was the best when `checkpoint` was written; None where there was none."""
    value = read_json(checkpoint / TRAINER_STATE).get("best_global_step")
    return value if isinstance(value, int) and value > 0 else None


def forget_path_of_best(written: Path) -> None:
    """Takes out of a checkpoint where transformers says that the best one is: it was renamed since, and goes
    by its step."""
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
    """Why the files of `checkpoint` are not those that were sealed; None where they are."""
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
    """How many rows a pass had on each device when `checkpoint` was written; None where it does not say."""
    value = read_json(checkpoint / TRAINER_STATE).get("train_batch_size")
    return value if isinstance(value, int) else None


class Written(Enum):
    """What wrote a checkpoint: it alone reads it. The value is how a person is told."""

    WHOLE = "a training of whole weights"
    FSDP = "several processes with FSDP"
    ZERO_2 = "several processes with DeepSpeed's ZeRO-2"
    ZERO_3 = "several processes with DeepSpeed's ZeRO-3"

    @classmethod
    def by(cls, compute: ComputeSpec) -> Written:
        """What writes the checkpoints of a stage with this `compute`."""
        if compute.engine == "deepspeed":
            return cls.ZERO_3 if compute.zero_stage == 3 else cls.ZERO_2
        return cls.FSDP if compute.engine == "fsdp" else cls.WHOLE

    @property
    def is_deepspeed(self) -> bool:
        return self in (Written.ZERO_2, Written.ZERO_3)


def written_by(checkpoint: Path) -> Written:
    """What wrote `checkpoint`, by the names of its files."""
    if any(checkpoint.glob("pytorch_model_fsdp*")):
        return Written.FSDP
    if any(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt")):
        return Written.ZERO_3
    return Written.ZERO_2 if any(checkpoint.glob("global_step*")) else Written.WHOLE


def processes_of(checkpoint: Path) -> int:
    """How many processes trained when `checkpoint` was written: each left its random numbers."""
    return len(list(checkpoint.glob("rng_state_*.pth"))) or 1


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name; −1 where it has none."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
