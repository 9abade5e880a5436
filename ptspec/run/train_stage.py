"""Train a stage of the plan into a folder: resolve its parts, train, verify what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec import __version__
from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Encode, Loading, Refuses, form_of_rows, load, places, strings_in
from ptspec.data.kept_rows import kept_rows
from ptspec.data.left_out import LEFT_OUT, LeftOut, LeftOutFile, list_left_out
from ptspec.estimate.out_of_memory import with_advice
from ptspec.events import Listener, Warned
from ptspec.methods.types import Rows, Yields
from ptspec.model import probes
from ptspec.model.base import Base
from ptspec.model.device import Device
from ptspec.model.handover import changes_weights, prepare
from ptspec.model.model_cache import Bases, Weights
from ptspec.model.probes import Probes
from ptspec.processes import current
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.signals import RewardSpec
from ptspec.recipe.sources import OnBadRow, Source, is_streamed, parts_of
from ptspec.rewards.build import judge as judge_named
from ptspec.rewards.build import reward_functions, reward_weights
from ptspec.rewards.models import RewardModel, open_reward_model, open_reward_model_of
from ptspec.run.needs import Needs
from ptspec.run.performance import as_begun, decided
from ptspec.run.reward_rows import check_reward_rows
from ptspec.run.stage_words import reference_of
from ptspec.run.teacher import open_teacher
from ptspec.store.content_hashes import Hashes, data_commit, digest
from ptspec.store.stage_folder import CHECKPOINTS, Artifact, open_artifact
from ptspec.training.batch_halving import halved_in_words, halvings, write_halvings
from ptspec.training.config import can_be_halved
from ptspec.training.faults import OutOfMemory
from ptspec.training.job import Job, Signals, Trained
from ptspec.training.row_templates import encoder, refusal
from ptspec.training.start_checks import check_saved
from ptspec.training.stop_request import StopRequest
from ptspec.training.tracking import Watched
from ptspec.training.train import train

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from ptspec.data.stream.dataset import StreamWatch


@dataclass(frozen=True)
class StageTrainer:
    """Trains the stages of `plan`, each from the folder of its parent.

    `needs` tells which weights are still needed.
    """

    plan: Plan
    bases: Bases
    needs: Needs
    hashes: Hashes
    device: Device
    listener: Listener
    allow_code: bool
    stop_request: StopRequest

    def make(self, stage: Stage, folder: Path, reason: str | None) -> tuple[Trained, float]:
        """Train `stage` in `folder`; return the result and the distance of the saved from the trained policy.

        The distance is in nats per token over the probes.
        """
        while (trained := self._attempt(stage, folder, reason)) is None:
            self.bases.release()
        if is_streamed(self.plan.data, stage.data):
            self.hashes.must_be_unchanged(stage.data)  # it was read up to here
            if left_out := LeftOutFile(folder).rows():  # in all processes; one reports
                self._tell_left_out(stage, left_out)
        self.bases.release()
        return trained, current().by_first(
            lambda: check_saved(stage, self._saved(stage, folder), trained.probes)
        )

    def _attempt(self, stage: Stage, folder: Path, reason: str | None) -> Trained | None:
        """Train once; return None if memory ran out and a smaller batch size is tried next."""
        checkpoints = folder / CHECKPOINTS
        # Read before it starts: several processes that run out of memory at once halve once together.
        times = halvings(checkpoints) + 1
        try:
            return train(self._job(stage, folder, reason), self.listener, self.stop_request)
        except OutOfMemory as error:
            if not can_be_halved(as_begun(stage, folder), times):
                error.diagnostics = tuple(with_advice(told, self.plan, stage) for told in error.diagnostics)
                raise
            write_halvings(checkpoints, times)
            if not current().alone:
                raise  # the others are within a step: the launcher restarts them all
        is_measured = stage.eval_data is not None
        self.listener(Warned(halved_in_words(times, is_measured=is_measured), stage.name))
        return None

    def _job(self, stage: Stage, folder: Path, reason: str | None) -> Job:
        self.bases.keep(self.needs.of(stage))
        incoming = self._incoming(stage)
        watch = self._watch(stage, folder)
        dataset, eval_dataset = self._datasets(stage, folder, watch)
        self.hashes.must_be_unchanged(stage.data)
        if watch is None:
            check_reward_rows(self.plan, stage, dataset)
        decision = decided(
            self.plan, stage, folder, self.device, None if watch else len(dataset), self.listener
        )
        stage = decision.applied(stage)
        handed_over = self._handed_over(stage, incoming, dataset)
        base = self._base(stage, incoming)
        self.hashes.model_must_be_unchanged()
        job = Job(
            stage=stage,
            base=base,
            policy=prepare(base, incoming, stage, self.plan.seed_of(stage)),
            dataset=dataset,
            handed_over=handed_over,
            signals=self._signals(stage),
            folder=folder,
            device=self.device,
            precision=stage.compute.precision,
            watched=Watched(self.plan.tracking, self.plan.name, stage.name, self.plan.output),
            seed=self.plan.seed_of(stage),
            reference=reference_of(stage),
            reason=reason,
            placed=lambda rows: places(
                self.plan.data, stage.data, stage.method.rows, [dataset[row] for row in rows]
            ),
            watch=watch,
            decision=decision,
            eval_dataset=eval_dataset,
        )
        self.bases.keep(self._needed_after(stage))
        self.bases.park()
        return job

    def _base(self, stage: Stage, incoming: Artifact | None) -> Base:
        """Return the weights below `stage`; its own to change if nothing else needs them."""
        if changes_weights(stage, incoming):
            return self.bases.give_away(stage.adapter, incoming, self._needed_after(stage))
        return self.bases.get(stage.adapter, incoming)

    def _needed_after(self, stage: Stage) -> Sequence[Weights]:
        """Return the weights to keep while `stage` trains; none if it is sharded.

        Each process would hold whole weights beside its shard.
        """
        return () if stage.compute.is_sharded else self.needs.after_training(stage)

    def _datasets(self, stage: Stage, folder: Path, watch: StreamWatch | None) -> tuple[Any, Dataset | None]:
        """Return the training rows and evaluation rows of `stage`; list those left out in `folder`."""
        left_out: list[LeftOut] = []
        learned: Any = self._stream(stage, watch) if watch is not None else self._rows(stage, left_out)
        measured = self._measured_rows(stage, left_out)
        if measured is not None and watch is None and self._differ(stage, learned, measured):
            left_out.clear()
            learned = self._rows(stage, left_out, as_tokens=True)
            measured = self._measured_rows(stage, left_out, as_tokens=True)
        if left_out and current().is_first:
            list_left_out(left_out, folder, goes_on=watch is not None)
            self._tell_left_out(stage, len(left_out))
        return learned, measured

    def _differ(self, stage: Stage, learned: Dataset, measured: Dataset) -> bool:
        """Return whether SFT's trainer would mask evaluation rows differently from training rows.

        It decides by the form of the training rows.
        """
        return stage.method.tokens.joins_forms and form_of_rows(learned) != form_of_rows(measured)

    def _measured_rows(
        self, stage: Stage, left_out: list[LeftOut], *, as_tokens: bool = False
    ) -> Dataset | None:
        """Return the rows of the stage's `eval_data`, in the form of training rows."""
        if stage.eval_data is None:
            return None
        self.hashes.source(stage.eval_data)
        rows = self._rows(replace(stage, data=stage.eval_data), left_out, as_tokens=as_tokens)
        self.hashes.must_be_unchanged(stage.eval_data)
        return rows

    def _rows(self, stage: Stage, left_out: list[LeftOut], *, as_tokens: bool = False) -> Dataset:
        """Return the rows of `stage`, and add unusable ones to `left_out`."""
        loading = self._loading(stage, as_tokens=as_tokens)
        read = partial(load, self.plan.data, stage.data, stage.method.rows, self.plan.seed_of(stage), loading)
        key = self._key_of_rows(stage, loading)
        rows = read() if key is None else kept_rows(key, read)
        left_out += loading.left_out
        return rows

    def _tell_left_out(self, stage: Stage, rows: int) -> None:
        self.listener(Warned(f"{rows:,} rows are left out, listed in {stage.name}/{LEFT_OUT}", stage.name))

    def _key_of_rows(self, stage: Stage, loading: Loading) -> str | None:
        """Return the hash of what the rows of `stage` depend on.

        None if they also depend on a tokenizer or on unknown contents, or are not worth caching.
        """
        parts = [self.plan.data[name] for name in parts_of(self.plan.data, stage.data)]
        sources = [part for part in parts if isinstance(part, Source)]
        leaves_out = any(part.on_bad_row is OnBadRow.LEAVE_OUT for part in sources)
        is_known = all(part.hub is None or data_commit(part) is not None for part in sources)
        # KTO's trainer includes its own folder in its cache hash: nothing would be found again.
        is_kto = stage.method.rows is Rows.UNPAIRED_PREFERENCE
        if loading.encode is not None or leaves_out or not is_known or is_kto:
            return None
        source = self.hashes.source(stage.data)
        return digest(
            [__version__, version("datasets"), source, stage.method.rows.value, self.plan.seed_of(stage)]
        )

    def _watch(self, stage: Stage, folder: Path) -> StreamWatch | None:
        """Return what is reported about streamed rows of `stage` while it trains."""
        if not is_streamed(self.plan.data, stage.data):
            return None
        from ptspec.data.stream.dataset import StreamWatch

        listed = LeftOutFile(folder)

        def left_out(row: LeftOut) -> None:
            if not listed.add(row) or not _is_told(number := listed.rows()):
                return
            rows = f"{number:,} rows are left out so far, the last" if number > 1 else "left out:"
            text = f"{rows} {row.file}:{row.line} ({row.code}), listed in {stage.name}/{LEFT_OUT}"
            self.listener(Warned(text, stage.name))

        return StreamWatch(lambda text: self.listener(Warned(text, stage.name)), left_out)

    def _stream(self, stage: Stage, watch: StreamWatch) -> IterableDataset:
        from ptspec.data.stream.dataset import Share, stream

        settings = EffectiveConfig(stage, stage.compute, gpu=False)
        share = Share(batch=settings.number("per_device_train_batch_size", 8))
        data, rows = self.plan.data, stage.method.rows
        return stream(data, stage.data, rows, self.plan.seed_of(stage), self._loading(stage), share, watch)

    def _loading(self, stage: Stage, *, as_tokens: bool = False) -> Loading:
        use = Use(stage.method.name, stage.method.rows)
        encode = self._encoder(stage, as_tokens=as_tokens)
        return Loading(use, self._refusal(stage), encode=encode, encodes_always=as_tokens)

    def _refusal(self, stage: Stage) -> Refuses:
        """Return the template's message against a row; only needed if such rows are left out."""
        parts = [self.plan.data[name] for name in parts_of(self.plan.data, stage.data)]
        if not any(isinstance(part, Source) and part.on_bad_row is OnBadRow.LEAVE_OUT for part in parts):
            return lambda row: None
        return refusal(self.bases.tokenizer)

    def _encoder(self, stage: Stage, *, as_tokens: bool = False) -> Encode | None:
        """Return an encoder if sources differ in form and the trainer accepts tokens."""
        is_mixed = as_tokens or len(parts_of(self.plan.data, stage.data)) > 1
        if not stage.method.tokens.joins_forms or not is_mixed:
            return None
        return encoder(EffectiveConfig(stage, stage.compute, gpu=False), self.bases.tokenizer)

    def _incoming(self, stage: Stage) -> Artifact | None:
        """Return the folder that `stage` starts from; None for the bare base."""
        if stage.parent == BASE:
            return None
        outside = self.plan.stage(stage.parent) is None
        folder = Path(stage.parent) if outside else self.plan.output / stage.parent
        return open_artifact(folder, join(stage.at, "from"))

    def _saved(self, stage: Stage, folder: Path) -> Any:
        """Open the policy in `folder` as a user would."""
        if stage.method.yields is Yields.REWARD_MODEL:
            below = self.bases.below(stage.adapter)
            return open_reward_model(str(folder), self.device, at=stage.at, below=below).model
        return self.bases.open(stage.adapter, open_artifact(folder))[0]

    def _signals(self, stage: Stage) -> Signals:
        """Return the rewards or the judge of `stage`."""
        if stage.teacher is not None:
            return Signals(teacher=open_teacher(self.plan, stage.teacher, self.bases))
        if not stage.rewards and stage.judge is None:
            return Signals()  # without opening its data again
        source = self.plan.data[stage.data]
        options: dict[str, Any] = {
            "strings": strings_in(source, self.plan.data),
            "allow_code": self.allow_code,
            "open_model": self.open_reward_model_of,
            "warn": lambda text: self.listener(Warned(text, stage.name)),
        }
        rewards = reward_functions(self.plan, stage.rewards, **options)
        weights = reward_weights(self.plan, stage.rewards)
        judge = judge_named(self.plan, stage.judge, **options) if stage.judge else None
        return Signals(tuple(rewards), tuple(weights), judge)

    def open_reward_model_of(self, spec: RewardSpec) -> RewardModel:
        """Open the reward model of a reward, over the shared base if it is an adapter."""
        below = self.bases.below(self.needs.base.adapter)
        return open_reward_model_of(self.plan, spec, self.device, below)

    def _handed_over(self, stage: Stage, incoming: Artifact | None, rows: Any) -> Probes:
        """Return the probes that the stage's policy must reproduce.

        Those that its parent saved, else measured on the opened parent.
        """
        left = probes.load(incoming.folder) if incoming is not None else None
        if left is not None:
            return left
        model, base = self.bases.open(stage.adapter, incoming)
        prompts_only = stage.method.rows is Rows.PROMPT_ONLY
        ids = probes.sequences(base.tokenizer, rows, prompts_only=prompts_only)
        taken: Probes = probes.measure(model, ids)
        return taken


def _is_told(rows: int) -> bool:
    """Return whether a count of left-out rows is reported (1, 10, 100, …)."""
    return str(rows).strip("0") == "1"
