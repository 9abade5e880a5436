"""What surviving costs: checkpoints, hashes and events, as a share of the demo's training time.

    python benchmarks/survival_cost.py                       # recipes/sft_dpo.json
    python benchmarks/survival_cost.py --save-steps 20       # a checkpoint every 20 steps

Two figures, in processor time, so that a loaded machine matters little. "within": in one run, the time spent
in what is ours (saving and sealing checkpoints, looking at losses, events, metrics, hashes of inputs and
outputs) over the time spent in the rest of training. "against": the training of whole stages with all that,
over the same TRL trainers with save_strategy "no" and no callback of ours, taken in turns; as noisy as the
machine is. Exits with 1 where "within" is more than 3 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from ptspec.checks.preflight import preflight
from ptspec.library_output import into_log, quiet_environment
from ptspec.recipe.plan import Plan, Stage
from ptspec.run.needs import Needs
from ptspec.run.train_stage import StageTrainer
from ptspec.store.content_hashes import Hashes, hash_folder
from ptspec.store.event_log import EventLog
from ptspec.training import train as training
from ptspec.training.checkpoint_callback import CheckpointCallback
from ptspec.training.nonfinite_guard import NonfiniteGuard
from ptspec.training.progress import Progress
from ptspec.training.stop_callback import StopCallback
from ptspec.training.stop_request import StopRequest

ROOT = Path(__file__).resolve().parent.parent
BOUND = 0.03
OURS: dict[type, tuple[str, ...]] = {
    Progress: ("on_train_begin", "on_step_end", "on_log"),
    StopCallback: ("on_step_end",),
    NonfiniteGuard: ("on_pre_optimizer_step",),
    CheckpointCallback: (
        "on_train_begin",
        "on_epoch_begin",
        "on_step_begin",
        "on_pre_optimizer_step",
        "on_step_end",
        "on_save",
    ),
}


@dataclass
class Clock:
    """Processor seconds by what they went into; what is called from within something timed counts once."""

    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _running: bool = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._running:
                return function(*args, **kwargs)
            self._running, begun = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[name] += time.process_time() - begun
                self._running = False

        return call

    @property
    def ours(self) -> float:
        return sum(self.spent.values())


@contextmanager
def watched(clock: Clock) -> Iterator[list[float]]:
    """While this lasts, what is ours is timed; yields the processor seconds of each training as it ends."""
    trainings: list[float] = []
    before = {(kind, name): getattr(kind, name) for kind, names in OURS.items() for name in names}
    make = training._trainer

    def made(job: Any, checkpoints: Path) -> Any:
        trainer = make(job, checkpoints)
        trainer._save_checkpoint = clock.timed("checkpoints", trainer._save_checkpoint)
        train = trainer.train

        def timed_train(**options: Any) -> None:
            begun = time.process_time()
            train(**options)
            trainings.append(time.process_time() - begun)

        trainer.train = timed_train
        return trainer

    for (kind, name), method in before.items():
        setattr(kind, name, clock.timed(f"{kind.__name__}.{name}", method))
    training._trainer = made
    try:
        yield trainings
    finally:
        training._trainer = make
        for (kind, name), method in before.items():
            setattr(kind, name, method)


@dataclass(frozen=True)
class Bench:
    """The stages of a plan, trained one after the other in fresh folders."""

    plan: Plan

    def surviving(self, output: Path) -> tuple[Clock, float]:
        """With everything; what is ours, and the whole, in processor seconds."""
        clock, plan = Clock(), replace(self.plan, output=output)
        hashes = Hashes(plan)
        with EventLog(output) as events, watched(clock) as trainings:
            clock.timed("hashes", lambda: (hashes.model(), [hashes.source(name) for name in plan.data]))()
            stage_trainer = self._stage_trainer(plan, hashes, events)
            for stage in plan.stages:
                folder = output / stage.name
                stage_trainer.make(stage, folder, None)
                clock.timed("hashes", hash_folder)(folder)
        return clock, sum(trainings) + clock.spent["hashes"]

    def bare(self, output: Path) -> float:
        """TRL's trainers alone; the incoming policy of a stage is that of the run with everything."""
        plan, spent = replace(self.plan, output=output), 0.0
        stage_trainer = self._stage_trainer(plan, Hashes(plan), lambda event: None)
        for name in plan.data:
            stage_trainer.hashes.source(name)
        for stage in plan.stages:
            job = stage_trainer._job(_unsaved(stage), output / f"bare-{stage.name}", None)
            trainer = training._trainer(job, job.folder)
            trainer.remove_callback(PrinterCallback)
            begun = time.process_time()
            trainer.train()
            spent += time.process_time() - begun
        return spent

    def warm_up(self) -> None:
        """Two steps of each stage, so that the first that is timed is like the others."""
        few = tuple(replace(s, config={**s.config, "max_steps": 2}) for s in self.plan.stages)
        with tempfile.TemporaryDirectory() as folder, into_log(Path(folder) / "log"):
            Bench(replace(self.plan, stages=few)).surviving(Path(folder))

    def _stage_trainer(self, plan: Plan, hashes: Hashes, listener: Callable[[Any], None]) -> StageTrainer:
        from ptspec.model.device import find_device
        from ptspec.model.model_cache import Bases

        device, needs = find_device(), Needs(plan, plan.stages)
        bases = Bases(plan.model, device)
        return StageTrainer(plan, bases, needs, hashes, device, listener, False, StopRequest())


def _unsaved(stage: Stage) -> Stage:
    return replace(stage, config={**stage.config, "save_strategy": "no"})


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--recipe", type=Path, default=ROOT / "recipes/sft_dpo.json")
    options.add_argument("--save-steps", type=int, help="a checkpoint every so many steps; 500 by default")
    options.add_argument("--repeat", type=int, default=3)
    given = options.parse_args()
    quiet_environment()
    plan = preflight(given.recipe, ()).plan
    assert plan is not None
    if given.save_steps:
        saved = {"save_steps": given.save_steps}
        plan = replace(plan, stages=tuple(replace(s, config={**s.config, **saved}) for s in plan.stages))
    bench, within, against = Bench(plan), [], []
    bench.warm_up()
    for number in range(given.repeat):
        with tempfile.TemporaryDirectory() as folder, into_log(Path(folder) / "log"):
            clock, whole = bench.surviving(Path(folder))
            bare = bench.bare(Path(folder))
        within.append(clock.ours / (whole - clock.ours))
        against.append(whole / bare - 1)
        print(f"{number + 1}: {whole:.2f} s with, {bare:.2f} s without; ours {clock.ours:.3f} s", flush=True)
    for name, seconds in sorted(clock.spent.items(), key=lambda item: -item[1]):
        print(f"   {name:<34}{seconds * 1000:8.1f} ms")
    print(f"within {statistics.median(within):.2%}, against {statistics.median(against):+.2%}")
    if statistics.median(within) > BOUND:
        raise SystemExit(f"more than {BOUND:.0%}")


if __name__ == "__main__":
    main()
