"""Input and result of training a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.model.base import Base
from ptspec.model.device import Device
from ptspec.model.handover import Policy
from ptspec.model.probes import Probes
from ptspec.performance.decide import Decision
from ptspec.recipe.plan import Stage
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.judges import Judge
from ptspec.training.evaluating import Best
from ptspec.training.nonfinite_guard import Placed
from ptspec.training.start_checks import Beginning
from ptspec.training.tracking import Watched

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from ptspec.data.stream.dataset import StreamWatch


@dataclass(frozen=True)
class Signals:
    """Feedback on completions: rewards with weights, a judge, or the `teacher` to compare with."""

    rewards: tuple[RewardFunction, ...] = ()
    weights: tuple[float, ...] = ()
    judge: Judge | None = None
    teacher: Any | None = None


def _nowhere(rows: Sequence[int]) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Job:
    """Everything a stage needs to train, resolved.

    `folder`: where it is made; `placed`: where rows of `dataset` come from; `watch`: what is reported about a
    stream; `eval_dataset`: the rows for evaluations during training.
    """

    stage: Stage
    base: Base
    policy: Policy
    dataset: Dataset | IterableDataset
    folder: Path
    device: Device
    precision: str | None
    watched: Watched
    seed: int
    reference: str | None
    reason: str | None
    handed_over: Probes
    signals: Signals = Signals()
    placed: Placed = _nowhere
    watch: StreamWatch | None = None
    decision: Decision | None = None
    eval_dataset: Dataset | None = None

    @property
    def rows(self) -> int | None:
        """The number of rows of `dataset`; None for a stream."""
        return None if self.watch is not None else len(self.dataset)

    @property
    def columns(self) -> Sequence[str]:
        """The columns of `dataset`; for a stream those of its first row."""
        return self.dataset.column_names or tuple(next(iter(self.dataset)))


@dataclass(frozen=True)
class Trained:
    """The result of training a stage."""

    steps: int
    seconds: float
    trainable_parameters: int
    peak_memory_bytes: int
    beginning: Beginning
    probes: Probes
    config: dict[str, Any]
    best: Best | None = None
