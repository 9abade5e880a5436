"""Two processes against one, strategy by strategy and method by method: the same weights in the end.

    python benchmarks/processes.py --folder outputs/processes            # every cell, 20 steps
    python benchmarks/processes.py --folder outputs/processes --strategies zero3 --methods sft dpo

A cell is a strategy, a method and a set-up. Those of a strategy are the stages of one run, under
torchrun, in float32 on the CPU; the same stages are made by one process. Results are kept in the folder:
what was cut off goes on where it stopped, and cells may be made one by one. At the end, and with
`--table` alone, the table of what there is.

Compared are what training changed (the cosine of B·A of each LoRA layer, or of the weights less the
base's), the losses, and the evaluation of the trained model. What `pt validate` refuses is shown with its
reason, and so is DeepSpeed where it is not installed.

accelerate shards with FSDP2 on accelerators only, and makes DDP of it on a CPU without a word: the FSDP2
cells are run with what `tests/support/sharded_run.py` has: it tells accelerate otherwise and
lets everything else be.

Ends with 1 where a cosine is .9999 or less, an evaluation is not equal, or the first loss of a method that
samples is not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ptspec.recipe.resolve import read_recipe

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "data/base_model"
BOUND = 0.9999
SAME_LOSS = 1e-6
RATES = {"sft": 2e-3, "dpo": 5e-4, "kto": 5e-4, "orpo": 1e-3, "reward": 1e-3, "grpo": 1e-3, "nash_md": 1e-3}
SAMPLED = ("grpo", "nash_md")
SETUPS = {"lora": {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}, "full": {}}
CUTS = {"lora": (4, 2), "full": (8, 1)}
"""Rows and passes of a step: two processes share the passes of the one, the rows of the other."""
ONE = "one"
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "ddp": {"strategy": "ddp"},
    "fsdp": {"strategy": "fsdp"},
    "zero2": {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": 2}}},
    "zero3": {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": 3}}},
}
HEADS = {"ddp": "DDP", "fsdp": "FSDP2", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}


@dataclass(frozen=True)
class Cell:
    strategy: str
    method: str
    setup: str

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.method}-{self.setup}"


@dataclass(frozen=True)
class Result:
    """What came of a cell, as it is kept.

    `refused`: why it was not run; `sampled`: the method samples, so that a difference in the last digit can
    draw another token, and from there on other completions.
    """

    steps: int
    refused: str | None = None
    cosine: float | None = None
    losses_apart: float | None = None
    first_loss_apart: float | None = None
    sampled: bool = False
    evaluation_apart: float | None = None
    seconds: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is as good as one process.

        The numbers of an evaluation are those of weights that differ in their last digits.
        """
        if self.sampled:
            return self.first_loss_apart is not None and self.first_loss_apart < SAME_LOSS
        cosine = self.cosine is None or self.cosine > BOUND
        return self.refused is not None or (cosine and (self.evaluation_apart or 0) < 1e-3)

    @property
    def words(self) -> str:
        if self.refused is not None:
            return self.refused
        if self.sampled:
            return f"{self.cosine:.8f}; first loss to {self.first_loss_apart:.0e}"
        return f"{self.cosine:.8f}; losses to {self.losses_apart:.0e}; eval to {self.evaluation_apart:.0e}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--methods", nargs="+", default=list(RATES), choices=list(RATES))
    parser.add_argument("--setups", nargs="+", default=list(SETUPS), choices=list(SETUPS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True, help="Where results and runs are kept.")
    parser.add_argument("--table", action="store_true", help="Shows what there is, and runs nothing.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for strategy in given.strategies if not given.table else ():
        cells = [Cell(strategy, *one) for one in product(given.methods, given.setups)]
        _make([cell for cell in cells if _kept(given.folder, cell, given.steps) is None], given)
    cells = [Cell(*one) for one in product(given.strategies, RATES, SETUPS)]
    found = {cell: _kept(given.folder, cell, given.steps) for cell in cells}
    results = {cell: result for cell, result in found.items() if result is not None}
    print("\n".join(_table(results, given.strategies)))
    return int(not all(result.holds for result in results.values()))


def _make(cells: list[Cell], given: argparse.Namespace) -> None:
    """Makes and keeps the results of `cells`, all of one strategy."""
    folder, steps = given.folder, given.steps
    refused = {cell: why for cell in cells if (why := _refused(folder, cell, steps)) is not None}
    for cell, why in refused.items():
        _keep(folder, cell, Result(steps, refused=why))
    if allowed := [cell for cell in cells if cell not in refused]:
        one = _run(folder, [Cell(ONE, *each) for each in product(given.methods, given.setups)], steps)
        several = _run(folder, allowed, steps)
        for cell in allowed:
            _keep(folder, cell, _result(cell, one, several, steps))


def _table(results: Mapping[Cell, Result], strategies: list[str]) -> Iterator[str]:
    """Markdown: methods and set-ups down, strategies across."""
    yield f"| | {' | '.join(HEADS[name] for name in strategies)} |"
    yield f"|---|{'---|' * len(strategies)}"
    for method, setup in product(RATES, SETUPS):
        found = [results.get(Cell(name, method, setup)) for name in strategies]
        if any(found):
            cells = " | ".join(result.words if result else "" for result in found)
            yield f"| {method}, {'LoRA' if setup == 'lora' else setup} | {cells} |"


def _kept(folder: Path, cell: Cell, steps: int) -> Result | None:
    file = folder / f"{cell.name}.json"
    if not file.is_file():
        return None
    result = Result(**json.loads(file.read_text()))
    return result if result.steps == steps else None


def _keep(folder: Path, cell: Cell, result: Result) -> None:
    print(f"{cell.name}: {result.words}", flush=True)
    (folder / f"{cell.name}.json").write_text(json.dumps(asdict(result)))


def _refused(folder: Path, cell: Cell, steps: int) -> str | None:
    """Why `pt validate` refuses a cell, or this machine cannot run it."""
    if cell.strategy.startswith("zero") and find_spec("deepspeed") is None:
        return "DeepSpeed is not installed"
    told = [d.message for d in read_recipe(_written(folder, [cell], steps)).errors]
    return "refused: " + told[0].partition('": ')[2] if told else None


def _result(cell: Cell, one: Path, several: Path, steps: int) -> Result:
    name = f"{cell.method}_{cell.setup}"
    ours, theirs = one / name, several / name
    logs = [_log(each) for each in (ours, theirs)]
    apart = [abs(a["loss"] - b["loss"]) for a, b in zip(*logs, strict=True)]
    seconds = json.loads((theirs / "stage.json").read_text())["seconds"]
    cosine = _cosine(_change(ours), _change(theirs))
    measured = max(abs(a - b) for a, b in zip(_evaluated(ours), _evaluated(theirs), strict=True))
    sampled = cell.method in SAMPLED
    return Result(steps, None, cosine, max(apart), apart[0], sampled, measured, seconds)


def _recipe(cells: list[Cell], steps: int) -> Mapping[str, Any]:
    """A recipe whose stages, all from the base, are `cells` of one strategy. Its evaluation draws nothing."""
    compute = STRATEGIES.get(cells[0].strategy)
    return {
        "version": 1,
        "name": cells[0].strategy,
        "model": {"path": str(BASE), "dtype": "float32"},
        "data": {
            "train": {"path": str(ROOT / "data/train.jsonl"), "limit": 256},
            "heldout": {"path": str(ROOT / "data/eval.jsonl"), "limit": 16},
        },
        "rewards": {"style": {"function": "regex", "pattern": "[^.!?\\n]+\\."}},
        "judges": {"shorter": {"reward": "style"}},
        "stages": [_stage(cell.method, cell.setup, steps) for cell in cells],
        "eval": {"data": "heldout", "metrics": ["loss", "accuracy"], "samples": 0},
        **({"compute": {"launcher": "accelerate", "processes": 2, **compute}} if compute else {}),
    }


def _stage(method: str, setup: str, steps: int) -> Mapping[str, Any]:
    rate = RATES[method] if setup == "lora" else RATES[method] / 10
    rows, passes = CUTS[setup]
    config: dict[str, Any] = {"learning_rate": rate, "max_steps": steps, "save_strategy": "no"}
    config |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": passes}
    stage: dict[str, Any] = {"name": f"{method}_{setup}", "method": method, "data": "train", "from": "base"}
    if method in SAMPLED:
        config |= {"num_generations": 4, "max_completion_length": 16}
        stage |= {"judge": "shorter"} if method == "nash_md" else {"rewards": ["style"]}
    return {**stage, "adapter": SETUPS[setup], "config": config}


def _written(folder: Path, cells: list[Cell], steps: int) -> Path:
    """The recipe of `cells` as a file, of a name of its own."""
    text = json.dumps(_recipe(cells, steps), indent=2)
    name = f"{cells[0].strategy}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    file = folder / f"{name}.recipe.json"
    file.write_text(text)
    return file


def _run(folder: Path, cells: list[Cell], steps: int) -> Path:
    """The output folder of a run of `cells`: finished stages of one that was cut off stay."""
    recipe = _written(folder, cells, steps)
    output = recipe.with_suffix("")
    launch = [sys.executable]
    if cells[0].strategy != ONE:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "-m", "ptspec.cli", "run", str(recipe), "--output", str(output)]
    if cells[0].strategy == "fsdp":
        command = [*launch, "-m", "sharded_run", str(recipe), str(output)]
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{recipe} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return output


def _log(stage: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]


def _evaluated(stage: Path) -> list[float]:
    """The numbers of the evaluation of a stage, in their order."""
    metrics = json.loads((stage / "evaluation_stats.json").read_text())["metrics"]
    return [float(metrics[name]["value"]) for name in sorted(metrics)]


def _change(stage: Path) -> dict[str, Tensor]:
    """What training changed, by name."""
    if (adapter := stage / "adapter_model.safetensors").exists():
        tensors = load_file(adapter)
        below = {name: name.replace("lora_A", "lora_B") for name in tensors if "lora_A" in name}
        return {name: tensors[b].double() @ tensors[name].double() for name, b in below.items()}
    base, trained = load_file(BASE / "model.safetensors"), load_file(stage / "model.safetensors")
    return {name: trained[name].double() - base[name].double() for name in trained.keys() & base.keys()}


def _cosine(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    one, two = (torch.cat([each[name].flatten() for name in sorted(ours)]) for each in (ours, theirs))
    return float(torch.nn.functional.cosine_similarity(one, two, dim=0))


if __name__ == "__main__":
    sys.exit(main())
