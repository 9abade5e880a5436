"""Emit a Trainer's steps and logs as events of the run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.events import Event, Listener, StageStarted, StageStep
from ptspec.model.frozen_ranks import FrozenRanks
from ptspec.store.stage_folder import METRICS
from ptspec.training.evaluating import is_measured

SUMMARY = "train_runtime"
"""Key by which TRL's last log, a summary of the run, is recognised."""


class Progress(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Emits a `StageStep` per optimizer step and appends each logged step to `metrics.jsonl`.

    A logged step is emitted once, with its metrics. On resume the file is first rewritten from the
    checkpoint's history, so that no step appears twice. The events `about` follow `started`.
    """

    def __init__(
        self, started: StageStarted, about: Sequence[Event], folder: Path, listener: Listener
    ) -> None:
        self.stage = started.stage
        self.announcement = started
        self.about = about
        self.metrics_file = folder / METRICS
        self.listener = listener
        self.started = time.monotonic()
        self.last: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Rewrite `metrics.jsonl` from the checkpoint's history and emit the stage's start."""
        self.started = time.monotonic()
        if state.is_world_process_zero:
            with self.metrics_file.open("w", encoding="utf-8") as file:
                file.writelines(_line(entry) for entry in state.log_history if SUMMARY not in entry)
        self.listener(
            replace(self.announcement, total_steps=state.max_steps, resumed_from_step=state.global_step)
        )
        for event in self.about:
            self.listener(event)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Emit a step that is not logged."""
        if not control.should_log:
            self._emit(state, {})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Append a log to `metrics.jsonl` and emit its step."""
        if not logs or SUMMARY in logs:
            return
        found = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        is_evaluation = any(map(is_measured, logs))
        kept = {name: value for name, value in self.last.items() if is_measured(name) != is_evaluation}
        self.last = {**kept, **found}
        if state.is_world_process_zero:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(_line({**logs, "step": state.global_step}))
        if not is_evaluation:  # emitted by `Evaluating`
            self._emit(state, found)

    def _emit(self, state: TrainerState, metrics: dict[str, float]) -> None:
        seconds = time.monotonic() - self.started
        self.listener(StageStep(self.stage, state.global_step, state.max_steps, seconds, metrics))


class FrozenRanksCallback(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Restores, after each optimizer step, the LoRA ranks that a stage must not train."""

    def __init__(self, ranks: FrozenRanks) -> None:
        self.ranks = ranks

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember the frozen ranks."""
        self.ranks.remember()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the frozen ranks."""
        self.ranks.restore()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps({"step": entry["step"], **entry}) + "\n"
