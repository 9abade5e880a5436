"""Real runs of a small recipe on the shipped base: for tests in any folder."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import Exit, PtError
from ptspec.events import Event, StageStarted
from ptspec.run.options import Options
from ptspec.run.session import execute
from ptspec.store.half_made import is_set_aside
from support.forked import ALONE, Forked, Main

# Tiny models run as fast on one thread, and tests may run beside one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks the hub; those of it have a server of their own.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[2]
WEIGHTS = "adapter_model.safetensors"

RECIPE = {
    "version": 1,
    "name": "small",
    "seed": 7,
    "model": {"path": str(ROOT / "data/base_model")},
    "adapter": {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    "data": {
        "train": {"path": str(ROOT / "data/train.jsonl"), "limit": 96},
        "heldout": {"path": str(ROOT / "data/eval.jsonl"), "limit": 16},
    },
    "stages": [
        {
            "name": "sft",
            "method": "sft",
            "data": "train",
            "config": {"learning_rate": 2e-3, "max_steps": 6, "per_device_train_batch_size": 8},
        },
        {
            "name": "dpo",
            "method": "dpo",
            "data": "train",
            "config": {"learning_rate": 5e-4, "max_steps": 4, "per_device_train_batch_size": 8},
        },
    ],
    "eval": {"data": "heldout", "max_new_tokens": 16, "samples": 4},
}


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


def pt_command(*arguments: object) -> list[str]:
    """What `pt` with these arguments is as a process of its own."""
    return [sys.executable, "-m", "ptspec.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, **ALONE}


def pt(*arguments: object, cwd: Path = ROOT) -> Finished:
    """Runs `pt` as a user would, in a process of its own."""
    done = subprocess.run(
        pt_command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment(), check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def pt_loaded(*arguments: object, cwd: Path = ROOT) -> Finished:
    """Runs `pt` in a process of its own that has torch and the like already: for what loads a model."""
    process = Forked(*arguments, cwd=cwd, environment=environment())
    stdout, stderr = process.communicate()
    return Finished(process.wait(), stdout, stderr)


def start_run(recipe: Path, output: Path, *options: str, **process: Any) -> Forked:
    """Begins `pt run` in a session of its own, for tests that end it from outside."""
    command = ("run", recipe, "--output", output, *options)
    return Forked(*command, cwd=ROOT, environment=environment(), **process)


def two_ranks(*arguments: object, main: Main | None = None) -> tuple[Forked, Forked]:
    """`pt` with `arguments` (or `main`) in two processes that know of each other what a launcher tells."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {**environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    first, second = (
        Forked(*arguments, cwd=ROOT, environment={**common, "RANK": rank, "LOCAL_RANK": rank}, main=main)
        for rank in ("0", "1")
    )
    return first, second


def steps_logged(output: Path, stage: str) -> int:
    """How many steps of `stage`, which is half made, are logged."""
    metrics = output / f".{stage}.partial" / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def wait_until_it_trains(output: Path, stage: str, process: Forked, meanwhile=lambda: None) -> None:
    """Returns once `stage` has logged a step more than now; an error where the run ends before."""
    limit, before = time.monotonic() + 240, steps_logged(output, stage)
    while steps_logged(output, stage) <= before:
        assert process.poll() is None, process.told
        meanwhile()
        assert time.monotonic() < limit, f"{stage} logged no step"
        time.sleep(0.02)


def one_stage(recipe, **config) -> None:
    """Leaves the first stage of `recipe`, with `config` besides; nothing is evaluated."""
    recipe["stages"] = recipe["stages"][:1]
    recipe["stages"][0]["config"].update(config)
    recipe.pop("eval")


def write_recipe(folder: Path, change=None) -> Path:
    """The small recipe in `folder`, after `change` has had it."""
    recipe = copy.deepcopy(RECIPE)
    if change is not None:
        change(recipe)
    path = folder / "recipe.json"
    path.write_text(json.dumps(recipe, indent=2))
    return path


@dataclass(frozen=True)
class SmallRun:
    recipe: Path
    output: Path
    done: Finished

    def metrics(self, stage: str) -> list[dict]:
        lines = (self.output / stage / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def record(self, stage: str) -> dict:
        return json.loads((self.output / stage / "stage.json").read_text())


def run_small(folder: Path, change=None, pt=pt_loaded) -> SmallRun:
    recipe = write_recipe(folder, change)
    return SmallRun(recipe, folder / "out", pt("run", recipe, "--output", folder / "out"))


@dataclass
class Ran:
    """A run in this process. `error` is what it ended with."""

    output: Path
    error: PtError | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def told(self):
        """The one fault, as text; of its exit code the test is sure too."""
        assert self.error is not None, "the run went through"
        assert self.error.exit is Exit.FAILED, self.error
        (one,) = self.error.diagnostics
        return f"{one.code}: {one.message} | {one.hint} | {' | '.join(one.notes)} | {one.pointer}"

    @property
    def weights(self):
        assert self.error is None, self.error.diagnostics
        stages = [path.parent for path in sorted(self.output.glob(f"*/{WEIGHTS}"))]
        return {folder.name: (folder / WEIGHTS).read_bytes() for folder in stages if not is_set_aside(folder)}

    @property
    def resumed(self):
        """The step from which each stage that was begun went on."""
        return {e.stage: e.resumed_from_step for e in self.events if isinstance(e, StageStarted)}


def undisturbed_weights(folders, change) -> dict[str, bytes]:
    """The weights of the small recipe after `change`, run undisturbed. `folders`: `tmp_path_factory`."""
    folder = folders.mktemp("undisturbed")
    return run_here(write_recipe(folder, change), folder / "out").weights


def run_here(recipe: Path, output: Path, hear=None, options: Options | None = None) -> Ran:
    """Runs a recipe in this process, which has its libraries loaded; `hear` gets every event."""
    plan = preflight(recipe, (), output).plan
    assert plan is not None
    ran = Ran(output)

    def listen(event):
        ran.events.append(event)
        if hear is not None:
            hear(event)

    try:
        execute(plan, listen, options or Options(allow_code=True))
    except PtError as error:
        ran.error = error
    return ran


def rewarded_by(file: Path):
    """Makes a recipe one step of GRPO by the function `reward` in `file`, and nothing else."""

    def change(recipe: dict) -> None:
        recipe["rewards"] = {"mine": {"function": f"{file}:reward"}}
        config = {"max_steps": 1, "num_generations": 2, "max_completion_length": 4}
        config["per_device_train_batch_size"] = 4
        stage = {"name": "grpo", "method": "grpo", "data": "train", "rewards": ["mine"], "config": config}
        recipe["stages"] = [stage]
        recipe.pop("eval")

    return change
