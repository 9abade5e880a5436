"""Kill a three-stage run (SFT, DPO, GRPO) at random moments, and compare it with an undisturbed run.

    python benchmarks/stress.py --kills 50 --seed 1
    python benchmarks/stress.py --kills 8 --seed 2 --work DIR   # DIR keeps the undisturbed run for later
    python benchmarks/stress.py --kills 50 --forked             # three times as fast

Each disturbed run is started, killed (SIGKILL, its whole process group) and started again by the same
command, some times over; then it is left to finish. A third of the kills fall at any time after the imports,
the others within 40 ms of something new on disk: a line of events.jsonl, a checkpoint that is being written,
sealed and renamed, a stage that gets its name. On a CPU the adapters of all stages must be those of the
undisturbed run byte for byte, the logged losses equal, and no file may be left over. Exits with 1 where they
are not.

With --forked a start is a fork, in a session of its own, of a process that has the libraries loaded: what is
killed is the same, and no start spends eight seconds on imports. The undisturbed run is always a plain start.

The GRPO stage saves in the middle of its generation buffers and goes through its data more than once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("sft", "dpo", "grpo")
KILLS_A_RUN = 8
NOT_COMPARED = ("events.jsonl", "run.log", ".lock")


def recipe() -> dict[str, object]:
    small = {"per_device_train_batch_size": 8, "logging_steps": 1}
    online = {
        "num_generations": 4,
        "steps_per_generation": 2,
        "num_iterations": 2,
        "max_completion_length": 12,
    }
    return {
        "version": 1,
        "name": "stress",
        "seed": 11,
        "model": {"path": str(ROOT / "data/base_model")},
        "adapter": {
            "use_lora": True,
            "r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.1,
            "target_modules": "all-linear",
        },
        "data": {
            "train": {"path": str(ROOT / "data/train.jsonl"), "limit": 64},
            "prompts": {"path": str(ROOT / "data/train.jsonl"), "limit": 10},
            "heldout": {"path": str(ROOT / "data/eval.jsonl"), "limit": 4},
        },
        "rewards": {"right": {"function": "contains_answer"}, "short": {"function": "length", "target": 8}},
        "stages": [
            {
                "name": "sft",
                "method": "sft",
                "data": "train",
                "config": {**small, "learning_rate": 2e-3, "max_steps": 10, "save_steps": 3},
            },
            {
                "name": "dpo",
                "method": "dpo",
                "data": "train",
                "config": {
                    **small,
                    "per_device_train_batch_size": 4,
                    "gradient_accumulation_steps": 2,
                    "learning_rate": 5e-4,
                    "max_steps": 10,
                    "save_steps": 2,
                },
            },
            {
                "name": "grpo",
                "method": "grpo",
                "data": "prompts",
                "rewards": ["right", "short"],
                "config": {
                    **small,
                    **online,
                    "learning_rate": 1e-3,
                    "beta": 0.02,
                    "max_steps": 18,
                    "save_steps": 3,
                },
            },
        ],
        "eval": {"data": "heldout", "max_new_tokens": 8, "samples": 2},
    }


@dataclass
class Tally:
    """What happened: how many kills, by the stage they fell in, and how many starts there were."""

    kills: Counter[str] = field(default_factory=Counter)
    aims: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    different: list[str] = field(default_factory=list)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ptspec.cli", "run", str(folder / "recipe.json"), "--output"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "told.txt").open("ab") as told:
        return subprocess.Popen(
            [*command, str(folder / "out")],
            stdout=told,
            stderr=told,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )


class Forked:
    """A run in a fork of this process; what `subprocess.Popen` says of one."""

    def __init__(self, folder: Path) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                told = os.open(folder / "told.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(told, 1)
                os.dup2(told, 2)
                code = _run_here(["run", str(folder / "recipe.json"), "--output", str(folder / "out")])
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def _run_here(arguments: list[str]) -> int:
    from ptspec.cli import main

    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def load_libraries() -> None:
    """What a run imports, once."""
    from ptspec.library_output import quiet_environment

    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    quiet_environment()
    import matplotlib.pyplot  # noqa: F401
    from trl import DPOTrainer, GRPOTrainer, SFTTrainer  # noqa: F401

    import ptspec.run.interpreter  # noqa: F401


Process = subprocess.Popen[bytes] | Forked
Start = Callable[[Path], Process]


def finish(folder: Path, start: Start = start) -> float:
    """Starts the run and waits for its end; how many seconds it took."""
    begun = time.monotonic()
    process = start(folder)
    if (code := process.wait()) != 0:
        raise SystemExit(f"exit {code}:\n{(folder / 'told.txt').read_text()[-3000:]}")
    return time.monotonic() - begun


def prepared(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(recipe(), indent=2))
    return folder


def undisturbed(work: Path) -> Path:
    folder = prepared(work / "undisturbed")
    if not (folder / "out" / "grpo" / "stage.json").exists():
        print(f"undisturbed run: {finish(folder):.1f} s", flush=True)
    return folder / "out"


def disturb(
    folder: Path,
    kills: int,
    chance: random.Random,
    tally: Tally,
    start: Start = start,
) -> None:
    """Starts and kills the run in `folder` so many times; it is left unfinished."""
    for _ in range(kills):
        process = start(folder)
        aim = chance.choice(["time", "time", "event", "writing", "checkpoint", "stage"])
        if not until(AIMS[aim], process, folder / "out", chance):
            process.wait()
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tally.kills[place(folder / "out")] += 1
        tally.aims[aim] += 1


Watch = Callable[[Path, random.Random], Iterator[bool]]


def until(watch: Watch, process: Process, output: Path, chance: random.Random) -> bool:
    """Waits for the moment to kill; False if the run ended before it came."""
    for is_now in watch(output, chance):
        if process.poll() is not None:
            return False
        if is_now:
            time.sleep(chance.choice([0.0, chance.uniform(0, 0.005), chance.uniform(0, 0.04)]))
            return process.poll() is None
        time.sleep(0.001)
    return False


def any_time(output: Path, chance: random.Random) -> Iterator[bool]:
    """After the first event of this start, anywhere in the seconds that a run takes."""
    yield from _events(output, 2)
    end = time.monotonic() + chance.uniform(0, 12)
    while time.monotonic() < end:
        yield False
    yield True


def an_event(output: Path, chance: random.Random) -> Iterator[bool]:
    yield from _events(output, chance.randint(1, 12))
    yield True


def _events(output: Path, count: int) -> Iterator[bool]:
    """Until so many more events have been written down."""
    file = output / "events.jsonl"
    wanted = _size(file) and file.read_bytes().count(b"\n")
    size, lines = _size(file), 0
    while lines < count:
        yield False
        if _size(file) != size:
            size, lines = _size(file), file.read_bytes().count(b"\n") - wanted


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def appearance(pattern: str, most: int) -> Watch:
    """The first, second, … thing that appears and matches `pattern`."""

    def watch(output: Path, chance: random.Random) -> Iterator[bool]:
        seen = set(output.glob(pattern))
        for _ in range(chance.randint(1, most)):
            while not (new := set(output.glob(pattern)) - seen):
                yield False
            seen |= new
        yield True

    return watch


AIMS: dict[str, Watch] = {
    "time": any_time,
    "event": an_event,
    "writing": appearance(".*.partial/checkpoints/.writing/checkpoint-*/*", 30),
    "checkpoint": appearance(".*.partial/checkpoints/checkpoint-*", 4),
    "stage": appearance("*/stage.json", 1),
}


def place(output: Path) -> str:
    """Where the last kill fell: in which half-made stage, and whether it was saving."""
    partials = sorted(output.glob(".*.partial"))
    if not partials:
        return "between stages"
    saving = any(partials[-1].glob("checkpoints/.writing/checkpoint-*"))
    trained = (partials[-1] / "stage.json").exists()
    what = "saving" if saving else "evaluating" if trained else "training"
    return f"{partials[-1].name.strip('.').removesuffix('.partial')}, {what}"


def fingerprint(output: Path) -> dict[str, str]:
    """What must be equal: adapters, losses, what `pt verify` says, and which files there are."""
    found: dict[str, str] = {}
    for stage in STAGES:
        weights = output / stage / "adapter_model.safetensors"
        found[f"{stage}: adapter"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        lines = (output / stage / "metrics.jsonl").read_text().splitlines()
        found[f"{stage}: losses"] = str([json.loads(line).get("loss") for line in lines])
    files = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    verified = subprocess.run(
        [sys.executable, "-m", "ptspec.cli", "verify", str(output)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    found["pt verify"] = f"exit {verified.returncode}"
    found["files"] = "\n".join(name for name in files if Path(name).name not in NOT_COMPARED)
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    found = [name for name in one if one[name] != other[name] and name != "files"]
    strange = set(one["files"].splitlines()) ^ set(other["files"].splitlines())
    return [*found, *sorted(strange)]


def stress(work: Path, kills: int, seed: int, a_run: int, start: Start = start) -> Tally:
    """Disturbed runs until there were `kills` kills; each is compared with the undisturbed one."""
    chance, tally = random.Random(seed), Tally()
    expected = fingerprint(undisturbed(work))
    while (done := tally.kills.total()) < kills:
        folder = prepared(work / f"seed-{seed}-run-{tally.runs}")
        disturb(folder, min(a_run, kills - done), chance, tally, start)
        finish(folder, start)
        different = differences(expected, fingerprint(folder / "out"))
        tally.runs += 1
        tally.different += [f"{folder.name}: {name}" for name in different]
        count = tally.kills.total()
        print(f"run {tally.runs}: {count - done} kills, {different or 'same bytes'}", flush=True)
        if not different:
            shutil.rmtree(folder)
    return tally


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--kills-a-run", type=int, default=KILLS_A_RUN)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--work", type=Path, help="keep the runs here")
    options.add_argument("--forked", action="store_true", help="start without importing everything again")
    given = options.parse_args()
    if given.forked:
        load_libraries()
    with tempfile.TemporaryDirectory() as temporary:
        work = (given.work or Path(temporary)).resolve()
        tally = stress(work, given.kills, given.seed, given.kills_a_run, Forked if given.forked else start)
    print(f"{tally.kills.total()} kills in {tally.runs} runs, {len(tally.different)} differences")
    print(f"aimed at: {dict(tally.aims.most_common())}")
    print(f"fell in: {dict(tally.kills.most_common())}")
    if tally.different:
        raise SystemExit("\n".join(tally.different))


if __name__ == "__main__":
    main()
