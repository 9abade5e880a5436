"""Kill one of a stage's two processes at random moments, and compare the result with an undisturbed run.

    python benchmarks/worker_kills.py --work DIR                # 20 kills, then other numbers of processes
    python benchmarks/worker_kills.py --work DIR --kills 40 --seed 2
    python benchmarks/worker_kills.py --work DIR --parts ddp    # of ddp, fsdp, numbers

DIR keeps what is done: a command that was cut off goes on. Each kill is one start of `pt run`: SIGKILL to the
first or the second process while that starts, trains, writes a checkpoint, saves or evaluates. The run has to
end with exit code 1 within 60 s and to name the process and its log. In the end every stage is made by the
same command, and compared with that of a run that nobody killed: with DDP weights and losses must be the same
bytes; with weights sharded by FSDP (over gloo, as in tests/e2e/test_sharded.py) no number may be 1e-5 away.
"numbers": what two processes had begun when one was killed, one process ends, and the other way round. Ends
with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import sharded_run  # noqa: E402
from support.small import start_run, two_ranks  # noqa: E402

METHODS = {"sft": 2e-3, "dpo": 5e-4, "kto": 5e-4, "orpo": 1e-3, "reward": 1e-3, "grpo": 1e-3, "nash_md": 1e-3}
SAMPLED = {"grpo": "reward", "nash_md": "win_rate/mixture"}
SHARDED = ("sft", "dpo", "grpo")
SHARDED_KILLS = 5
SECONDS = 60.0
APART = 1e-5
TWO = {"launcher": "accelerate", "processes": 2}


def recipe(methods: Sequence[str], compute: Mapping[str, Any], dropout: float = 0.1) -> dict[str, Any]:
    lora = {
        "use_lora": True,
        "r": 8,
        "lora_alpha": 16,
        "lora_dropout": dropout,
        "target_modules": "all-linear",
    }
    return {
        "version": 1,
        "name": "worker_kills",
        "seed": 11,
        "model": {"path": str(ROOT / "data/base_model"), "dtype": "float32"},
        "adapter": lora,
        "compute": compute,
        "data": {
            "train": {"path": str(ROOT / "data/train.jsonl"), "limit": 64},
            "heldout": {"path": str(ROOT / "data/eval.jsonl"), "limit": 12},
        },
        "rewards": {"style": {"function": "regex", "pattern": "[^.!?\\n]+\\."}},
        "judges": {"better": {"reward": "style"}},
        "stages": [_stage(method) for method in methods],
        "eval": {"data": "heldout", "max_new_tokens": 12, "samples": 2},
    }


def _stage(method: str) -> dict[str, Any]:
    """Steps of two passes; what is sampled is used for two steps: some checkpoints have it half used."""
    config: dict[str, Any] = {"learning_rate": METHODS[method], "max_steps": 9, "save_steps": 3}
    config |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1}
    stage: dict[str, Any] = {"name": method, "method": method, "data": "train", "from": "base"}
    if method in SAMPLED:
        config |= {"num_generations": 4, "steps_per_generation": 4, "max_completion_length": 8}
        stage |= {"judge": "better"} if method == "nash_md" else {"rewards": ["style"]}
    return {**stage, "config": config}


@dataclass(frozen=True)
class Kill:
    """`moment` of `stage` in which process `rank` is killed, and how far into that: between 0 and 1."""

    number: int
    part: str
    stage: str
    moment: str
    rank: int
    within: float


@dataclass(frozen=True)
class Done:
    """What a kill came to.

    `wrong` is empty where the run ended as it has to; `code` is None where the moment did not come, so that
    nothing was killed.
    """

    number: int
    code: int | None
    seconds: float
    wrong: str


def kills(part: str, count: int, methods: Sequence[str], seed: int) -> list[Kill]:
    """Over the methods evenly, in the order in which a run comes to them."""
    chance = random.Random(f"{seed} {part}")
    drawn = []
    for number in range(count):
        stage, moment = number % len(methods), chance.randrange(len(MOMENTS))
        drawn.append((stage, moment, chance.randrange(2), chance.random()))
    return [
        Kill(number, part, methods[stage], list(MOMENTS)[moment], rank, within)
        for number, (stage, moment, rank, within) in enumerate(sorted(drawn))
    ]


Moment = Callable[[Kill, Path], Iterator[bool]]
"""Gives False until it has come."""


def starting(kill: Kill, output: Path) -> Iterator[bool]:
    """While it imports, loads its model and makes its trainer ready."""
    yield from _until(lambda: alive(output, kill.rank) is not None and _works_at(output, kill.stage))
    yield from _later(8 * kill.within)


def training(kill: Kill, output: Path) -> Iterator[bool]:
    yield from _until_steps(output, kill.stage, 1 + int(5 * kill.within))
    yield from _later(0.2 * (5 * kill.within % 1))


def writing(kill: Kill, output: Path) -> Iterator[bool]:
    """While a checkpoint is written, sealed, or has just got its name."""
    pattern = f".{kill.stage}.partial/checkpoints/.writing/checkpoint-*/*"
    before = set(output.glob(pattern))
    yield from _until(lambda: bool(set(output.glob(pattern)) - before))
    yield from _later(0.1 * kill.within)


def saving(kill: Kill, output: Path) -> Iterator[bool]:
    """While the adapter is written, and looked at."""
    folder = output / f".{kill.stage}.partial"
    yield from _until(lambda: any("adapter" in file.name for file in folder.glob("*")))
    yield from _later(0.3 * kill.within)


def evaluating(kill: Kill, output: Path) -> Iterator[bool]:
    record = output / f".{kill.stage}.partial/stage.json"
    yield from _until(record.exists)
    yield from _later(0.5 * kill.within)


MOMENTS: dict[str, Moment] = {
    "starting": starting,
    "training": training,
    "writing": writing,
    "saving": saving,
    "evaluating": evaluating,
}


def _until(holds: Callable[[], bool]) -> Iterator[bool]:
    while not holds():
        yield False


def _later(seconds: float) -> Iterator[bool]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield False


def _until_steps(output: Path, stage: str, more: int) -> Iterator[bool]:
    """Until `stage` has logged so many more steps."""
    file = output / f".{stage}.partial/metrics.jsonl"
    before = _lines(file)
    return _until(lambda: _lines(file) >= before + more)


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _works_at(output: Path, stage: str) -> bool:
    return (output / f".{stage}.partial").exists()


def alive(output: Path, rank: int) -> int | None:
    """The process id that a process of a job leaves beside it."""
    try:
        return int((output / f".processes/{rank}.alive").read_text().partition(" ")[0])
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Runs:
    """The folder of one part: its recipe, and how `pt run` is started there."""

    folder: Path
    part: str

    def start(self, output: Path, stage: str) -> Any:
        """The processes that are waited for: of ranks that are found, both."""
        if self.part == "fsdp":
            return two_ranks(self.folder / "recipe.json", output, main=sharded_run.main)
        return (start_run(self.folder / "recipe.json", output, "--until", stage),)

    def finish(self, output: Path, stage: str) -> None:
        for process in self.start(output, stage):
            if (code := process.wait(3600)) != 0:
                raise SystemExit(f"exit {code}: {process.told}")


def disturb(runs: Runs, kill: Kill, output: Path) -> Done:
    """One start, and one kill."""
    shutil.rmtree(output / ".processes", ignore_errors=True)  # of a first process that was killed
    processes = runs.start(output, kill.stage)
    for _ in MOMENTS[kill.moment](kill, output):
        if all(process.poll() is not None for process in processes):
            codes = [process.poll() for process in processes]
            wrong = "" if codes == [0] * len(codes) else f"ended by itself: {processes[0].told}"
            return Done(kill.number, None, 0.0, wrong)
        time.sleep(0.002)
    victim = alive(output, kill.rank)
    if victim is None:  # the job is done
        codes = [process.wait(600) for process in processes]
        return Done(kill.number, None, 0.0, "" if not any(codes) else f"ended by itself: {codes}")
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    codes = [process.wait(600) for process in processes]
    seconds = time.monotonic() - begun
    if not any(codes):
        return Done(kill.number, None, seconds, "")
    told = processes[0].told[1].replace("\n", " ")
    return Done(kill.number, codes[0], round(seconds, 2), "; ".join(_wrong(kill, codes, seconds, told)))


def _wrong(kill: Kill, codes: Sequence[int], seconds: float, told: str) -> Iterator[str]:
    if seconds > SECONDS:
        yield f"ended after {seconds:.0f} s"
    is_controller = kill.part == "fsdp" and kill.rank == 0
    if is_controller:  # whose end the launcher tells
        if codes[1] == 0:
            yield "the other went on"
        return
    if codes[0] != 1:
        yield f"exit {codes[0]}"
    how = "has ended" if kill.part == "fsdp" else "was killed by SIGKILL"
    log = "run.log" if kill.rank == 0 else f"run.{kill.rank}.log"
    for text in (
        f'process {kill.rank} of 2 of "{kill.stage}" {how}',
        f"its log: …{log}",
        "goes on from there",
    ):
        words = text.split("…")
        if not all(word in told for word in words):
            yield f"not told: {text} (told: {told[-600:]})"
    if "Traceback" in told:
        yield "a traceback"


def disturbed(work: Path, part: str, count: int, seed: int) -> list[str]:
    """Kills what there is to kill, and compares; what is wrong."""
    methods = SHARDED if part == "fsdp" else tuple(METHODS)
    compute = {**TWO, "strategy": "fsdp"} if part == "fsdp" else TWO
    runs = Runs(work / part, part)
    runs.folder.mkdir(parents=True, exist_ok=True)
    (runs.folder / "recipe.json").write_text(json.dumps(recipe(methods, compute), indent=2))
    left = runs.folder / f"kills-{seed}.jsonl"
    done = [Done(**json.loads(line)) for line in left.read_text().splitlines()] if left.exists() else []
    output = runs.folder / f"killed-{seed}"
    for kill in kills(part, count, methods, seed)[len(done) :]:
        ended = disturb(runs, kill, output)
        done.append(ended)
        with left.open("a") as file:
            file.write(json.dumps(asdict(ended)) + "\n")
        what = "did not come" if ended.code is None else f"exit {ended.code} after {ended.seconds:.1f} s"
        print(
            f"{part} {kill.number}: {kill.stage}, {kill.moment}, process {kill.rank}: {what}"
            + f" {ended.wrong}",
            flush=True,
        )
    for name in (output.name, "undisturbed"):
        runs.finish(runs.folder / name, methods[-1])
    wrong = [f"{part} {one.number}: {one.wrong}" for one in done if one.wrong]
    for method in methods:
        ours, theirs = output / method, runs.folder / "undisturbed" / method
        apart = furthest(ours, theirs)
        same = weights_of(ours).read_bytes() == weights_of(theirs).read_bytes() and losses(ours) == losses(
            theirs
        )
        print(f"{part}, {method}: {'same bytes' if same else f'apart by {apart:.1e}'}", flush=True)
        if (part == "ddp" and not same) or apart > APART:
            wrong.append(f"{part}, {method}: apart by {apart:.1e}")
    hits = [one for one in done if one.code is not None]
    longest = max((one.seconds for one in hits), default=0.0)
    print(f"{part}: {len(hits)} kills, each ended within {longest:.1f} s", flush=True)
    return wrong


def weights_of(stage: Path) -> Path:
    return stage / "adapter_model.safetensors"


def losses(stage: Path) -> list[float]:
    lines = (stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def furthest(ours: Path, theirs: Path) -> float:
    """The largest difference of a number in two adapters."""
    one, other = load_file(weights_of(ours)), load_file(weights_of(theirs))
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def cosine(ours: Path, theirs: Path) -> float:
    """Of what training changed: B·A of each layer."""

    def change(stage: Path) -> torch.Tensor:
        tensors = load_file(weights_of(stage))
        names = sorted(name for name in tensors if "lora_A" in name)
        products = [
            tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double() for name in names
        ]
        return torch.cat([product.flatten() for product in products])

    return float(torch.nn.functional.cosine_similarity(change(ours), change(theirs), dim=0))


def numbers(work: Path, seed: int) -> list[str]:
    """Each stage begun by two processes and ended by one, and the other way round; what is wrong."""
    wrong: list[str] = []
    by: dict[str, Mapping[str, Any]] = {"two": TWO, "one": {"launcher": "local"}}
    for name, compute in by.items():
        folder = work / "numbers" / name
        folder.mkdir(parents=True, exist_ok=True)
        # What dropout draws is each process's own: another number of them learns otherwise with it.
        text = json.dumps(recipe(tuple(METHODS), compute, dropout=0.0), indent=2)
        (folder / "recipe.json").write_text(text)
    runs = {name: Runs(work / "numbers" / name, "ddp") for name in by}
    whole = work / "numbers/whole"
    runs["one"].finish(whole, tuple(METHODS)[-1])
    for first, second in (("two", "one"), ("one", "two")):
        output = work / "numbers" / f"{first}-to-{second}-{seed}"
        for number, method in enumerate(METHODS):
            if not (output / method).exists():
                if not (output / f".{method}.partial/checkpoints").exists():
                    chance = random.Random(f"{seed} {first} {method}")
                    kill = Kill(
                        number, "ddp", method, "training", chance.randrange(2), 0.6 + 0.39 * chance.random()
                    )
                    wrong += _begun(runs[first], kill, output)
                runs[second].finish(output, method)
            text = _compared(output / method, whole / method, method)
            print(f"{first} → {second}, {method}: {text}", flush=True)
            if method not in SAMPLED and method != "kto" and cosine(output / method, whole / method) < 0.9999:
                wrong.append(f"{first} → {second}, {method}: {text}")
    return wrong


def _begun(runs: Runs, kill: Kill, output: Path) -> list[str]:
    if runs.folder.name == "two":
        ended = disturb(runs, kill, output)
        return [f"numbers, {kill.stage}: {ended.wrong}"] if ended.wrong else []
    (process,) = runs.start(output, kill.stage)
    for _ in training(kill, output):
        if process.poll() is not None:
            break
        time.sleep(0.002)
    process.kill()
    process.wait(60)
    return []


def _compared(ours: Path, whole: Path, method: str) -> str:
    events = [json.loads(line) for line in (ours.parent / "events.jsonl").read_text().splitlines()]
    begun = [event for event in events if event["event"] == "StageStarted" and event.get("stage") == method]
    text = f"went on from step {begun[-1].get('resumed_from_step') if begun else None}; "
    if (key := SAMPLED.get(method)) is not None:
        # A step that learns once more from the same completions logs none.
        logged = ([step[key] for step in _log(folder) if key in step] for folder in (ours, whole))
        means = [sum(values) / len(values) for values in logged]
        return text + f"mean {key} {means[0]:.3f}, of one process {means[1]:.3f}"
    apart = max(abs(a - b) for a, b in zip(losses(ours), losses(whole), strict=True))
    return text + f"cosine {cosine(ours, whole):.10f}, losses apart by {apart:.1e}"


def _log(stage: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--parts", nargs="+", default=["ddp", "fsdp", "numbers"])
    given = options.parse_args()
    work = given.work.resolve()
    wrong: list[str] = []
    if "ddp" in given.parts:
        wrong += disturbed(work, "ddp", given.kills - SHARDED_KILLS, given.seed)
    if "fsdp" in given.parts:
        wrong += disturbed(work, "fsdp", SHARDED_KILLS, given.seed)
    if "numbers" in given.parts:
        wrong += numbers(work, given.seed)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
