"""The checkpoint that a stage resumes from, and messages about it."""

from __future__ import annotations

from pathlib import Path

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.events import Listener, Warned
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import evaluation_of
from ptspec.training.checkpoints import (
    Written,
    last_sound,
    processes_of,
    rows_a_pass,
    step_of,
    written_by,
)


def resume_from(checkpoints: Path, stage: Stage, now: tuple[int, int], listener: Listener) -> Path | None:
    """Return the checkpoint to resume from, or None; warn about damaged ones and changed batches.

    `now`: rows per pass and processes. Raises `StageError` if these processes cannot read it.
    """
    evaluation = evaluation_of(stage)
    hands_on_best = evaluation is not None and evaluation.hands_on_best
    sound, told = last_sound(checkpoints, with_best=hands_on_best)
    if sound is not None and (why := _unreadable(stage, sound, now[1])) is not None:
        raise StageError(why)
    if sound is not None and (rows := rows_a_pass(sound)) is not None:
        before = (rows, processes_of(sound))
        text = f"from step {step_of(sound) + 1} on {_passes(*now)}, not "
        if before[1] != now[1]:
            online = "; completions that were half used are sampled anew" if stage.method.online else ""
            told.append(f"{text}{_passes(*before)}{online}")
        elif before != now:
            told.append(f"{text}{rows}; a step learns from the same rows")
    for text in told:
        listener(Warned(text, stage.name))
    return sound


def _unreadable(stage: Stage, checkpoint: Path, processes: int) -> Diagnostic | None:
    """Return why so many processes of `stage` cannot read `checkpoint`; None if they can."""
    was, now = written_by(checkpoint), Written.by(stage.compute)
    if was is not now:
        by, hint = was.value, '"strategy" (and the stage of ZeRO) as it was goes on from there'
    elif now.is_deepspeed and processes_of(checkpoint) != processes:
        by, hint = f"{processes_of(checkpoint)} processes", "as many as before go on from there"
        by += f": DeepSpeed cannot share it among {processes}"
    else:
        return None
    message = f"{stage.name} cannot go on from {checkpoint.name}, which was written by {by}"
    hint += "; --fresh begins anew"
    return Diagnostic("other-strategy", message, None, join(stage.at, "compute"), hint)


def _passes(rows: int, processes: int) -> str:
    return f"a pass has {rows} rows" + (f" in each of {processes} processes" if processes > 1 else "")
