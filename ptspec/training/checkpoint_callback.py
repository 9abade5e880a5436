"""When and how checkpoints are saved: written beside, sealed, then renamed; also when a step fails.

A failed step has consumed random numbers and may have generated half of its completions. The state at the end
of the last whole step is kept, so that it can be saved as if the run had stopped there.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.processes import current
from ptspec.training import resume_online
from ptspec.training.checkpoints import PREFIX, WRITING, forget_path_of_best, processes_of, rotate
from ptspec.training.data_order import begin_epoch, catch_up
from ptspec.training.engines import around_update
from ptspec.training.generation_batch import parts_of_a_generation
from ptspec.training.random_state import RandomState
from ptspec.training.resume_online import Position, Remembering
from ptspec.training.sealing import Sealing
from ptspec.training.stream_place import StreamPlace


@dataclass(frozen=True)
class Moment:
    """State at the end of a whole step: random generators, position in the completions, tokens seen."""

    step: int
    random: RandomState
    position: Position | None
    tokens_seen: int

    @classmethod
    def now(cls, trainer: Any, state: TrainerState) -> Moment:
        """Capture the present state of `trainer`."""
        return cls(
            step=state.global_step,
            random=RandomState.now(),
            position=resume_online.position(trainer),
            tokens_seen=state.num_input_tokens_seen,
        )

    def back(self, trainer: Any) -> None:
        """Restore `trainer` to this state."""
        self.random.back()
        if self.position is not None:
            resume_online.go_to(trainer, self.position)
        trainer.state.num_input_tokens_seen = self.tokens_seen


class AlreadyTrained(Exception):
    """Training resumed from the checkpoint of its last step."""


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Completes and seals every checkpoint of `trainer`, and restores what transformers does not."""

    def __init__(
        self,
        trainer: Any,
        checkpoints: Path,
        resumed_from: Path | None,
        judge: Any = None,
        place: StreamPlace | None = None,
        *,
        keeps_best: bool = False,
    ) -> None:
        """Set up for `trainer`.

        `place`: the position in a stream of rows, if the training set is one. `keeps_best`: keep the
        checkpoint of the best evaluation, however many follow.
        """
        self.trainer = trainer
        self.place = place
        self.keeps_best = keeps_best
        self.judge: Remembering | None = judge if hasattr(judge, "recall") else None
        self.checkpoints = checkpoints
        self.resumed_from = resumed_from
        self.saved: int | None = None
        self._moment: Moment | None = None
        self._within_update = False
        self._first_step = True
        self._sealing = Sealing(checkpoints)
        current().by_first(lambda: shutil.rmtree(checkpoints / WRITING, ignore_errors=True))
        trainer._get_output_dir = self._output_dir

    def _output_dir(self, trial: object) -> str:
        """Return where a checkpoint is written; finish the one before first.

        At most one checkpoint at a time is unpublished.
        """
        self._sealing.wait()
        return str(self.checkpoints / WRITING)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove old checkpoints and restore the position within half-used completions."""
        if state.is_world_process_zero:
            # A run killed while removing an old checkpoint leaves part of it.
            rotate(self.checkpoints, args.save_total_limit, self._best(state))
        around_update(self.trainer, lambda: self._update(True), self._update)
        if self.resumed_from is None:
            return
        self.saved = state.global_step
        # transformers keeps the checkpoint's value, whose passes may have been split differently.
        state.train_batch_size = args.train_batch_size
        process, device = self.trainer.accelerator.process_index, self.trainer.accelerator.device
        parts = parts_of_a_generation(args)
        place = None
        if processes_of(self.resumed_from) == current().size:
            place = resume_online.stored(self.resumed_from, process, device, parts)
        if place is not None:
            resume_online.go_to(self.trainer, place)
        else:
            resume_online.sample_anew(self.trainer, state.global_step)
        if self.judge is not None:
            resume_online.recall(self.judge, self.resumed_from, process, current().size)
        if state.epoch is not None:
            catch_up(kwargs["train_dataloader"], int(state.epoch))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch's row order."""
        begin_epoch(kwargs["train_dataloader"], args.seed, int(state.epoch or 0))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise `AlreadyTrained` if all steps are done; restore the random state in a resumed stream."""
        # transformers checks max_steps only after a step: one too many from the last checkpoint.
        if state.global_step >= state.max_steps:
            raise AlreadyTrained
        if self._first_step and self.place is not None and self.resumed_from is not None:
            # transformers restores them before the data loader draws a number if it skips no batches.
            self.trainer._load_rng_state(str(self.resumed_from))
        self._first_step = False

    def _update(self, changes: bool) -> None:
        """Track whether an optimizer step is changing weights."""
        self._within_update = changes

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Mark the weights as being updated."""
        self._within_update = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Capture the state of the whole step."""
        self._within_update = False
        if self.place is not None:
            state.epoch = state.global_step / state.max_steps  # transformers counts from where it began
        self._moment = Moment.now(self.trainer, state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Complete the written checkpoint and start sealing it."""
        written = self.checkpoints / WRITING / f"{PREFIX}{state.global_step}"
        if (place := resume_online.position(self.trainer)) is not None:
            resume_online.store(place, written, self.trainer.accelerator.process_index)
        if self.place is not None:
            self.place.store(written, state.global_step)
        if self.judge is not None:
            resume_online.remember(self.judge, written, self.trainer.accelerator.process_index)
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            step = state.global_step
            forget_path_of_best(written)
            done = lambda: setattr(self, "saved", step)  # noqa: E731
            self._sealing.begin(written, args.save_total_limit, self._best(state), done)
        else:
            self.saved = state.global_step

    def _best(self, state: TrainerState) -> int | None:
        """Return the step of the checkpoint that is kept at any age."""
        return state.best_global_step if self.keeps_best else None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait until the last checkpoint is sealed."""
        self._sealing.wait()

    def close(self) -> None:
        """Finish sealing, whatever ended the training."""
        self._sealing.finish()

    def rescue(self) -> int | None:
        """After a failed step, save the state of the step before, unless it is saved already.

        Returns the last saved step; None if there is none.
        """
        with contextlib.suppress(Exception):  # an earlier error must not prevent saving now
            self._sealing.wait()
        moment = self._moment
        is_saved = moment is None or self._within_update or moment.step == self.saved
        # The first process knows whether the one before was sealed; all of them save, or none does.
        if current().of_first(is_saved) or moment is None:
            return self.saved
        trainer = self.trainer
        moment.back(trainer)
        trainer._save_checkpoint(trainer.model, trial=None)
        self.on_save(trainer.args, trainer.state, trainer.control)
        self._sealing.wait()
        return self.saved
