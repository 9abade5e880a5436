"""Every kind of model through every kind of chain, by the program's own commands: each runs, or is refused.

    python benchmarks/architectures                                # the whole table; half an hour of one core
    python benchmarks/architectures --kinds chain full --models qwen3 gemma3
    python benchmarks/architectures --keep DIR                     # goes on where DIR has results already

A cell is a recipe over a tiny random model. It is right where `pt validate` refuses it (exit 2, at a place,
with a hint or a reason), or where `pt run` ends with exit 0 and each stage trained as many parameters as
`pt plan` said. Wrong is a recipe that is valid and then fails. Prints Markdown; exits with 1 where a cell is
wrong. Each command is a fork of this process, which has the libraries loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(HF_HUB_OFFLINE="1", NO_COLOR="1", COLUMNS="200", TRL_EXPERIMENTAL_SILENCE="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
import trl.experimental.orpo  # noqa: E402, F401
from families import FAMILIES  # noqa: E402
from transformers.utils import logging  # noqa: E402
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer, SFTTrainer  # noqa: E402, F401

from ptspec import cli  # noqa: E402
from ptspec.diagnostics import Exit  # noqa: E402

OFFLINE = {"per_device_train_batch_size": 2, "max_steps": 2, "learning_rate": 1e-3}
ONLINE = {**OFFLINE, "max_steps": 1, "num_generations": 2, "max_completion_length": 8}
LORA = {"use_lora": True, "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
ADAPTERS: dict[str, dict[str, Any]] = {"qlora": {**LORA, "use_qlora": True}, "full": {"use_lora": False}}
Stage = dict[str, Any]


def stage(method: str, name: str | None = None, **more: Any) -> Stage:
    online = method in ("grpo", "nash_md")
    found = {"name": name or method, "method": method, "data": "train", **more}
    return {**found, **({"rewards": ["style"], "config": ONLINE} if online else {"config": OFFLINE})}


def after(source: str, method: str, name: str | None = None, **more: Any) -> Stage:
    return stage(method, name, **{"from": source}, **more)


KINDS: dict[str, Sequence[Stage]] = {
    "chain": [stage("sft"), stage("dpo", handover="continue"), stage("grpo", handover="continue")],
    "full": [stage("sft"), stage("dpo"), stage("grpo")],
    "handover": [
        stage("sft"),
        after("sft", "dpo", "merged", handover="merge"),
        after("sft", "dpo", "stacked", handover="stack"),
    ],
    "qlora": [
        stage("sft"),
        stage("dpo", handover="continue"),
        after("sft", "dpo", "merged", handover="merge"),
    ],
    "methods": [
        stage("sft"),
        after("sft", "kto"),
        after("base", "orpo"),
        after("sft", "nash_md"),
    ],
    "reward": [stage("reward")],
}
"""Stages of a recipe, with LoRA on all linear layers where nothing else is said; "chain" is evaluated."""


def recipe(model: Path, kind: str) -> dict[str, Any]:
    train = {"path": str(ROOT / "data/train.jsonl"), "limit": 12}
    heldout = {"path": str(ROOT / "data/eval.jsonl"), "limit": 4}
    found: dict[str, Any] = {
        "version": 1,
        "name": "out",
        "model": {"path": str(model)},
        "adapter": ADAPTERS.get(kind, LORA),
        "data": {"train": train},
        "rewards": {"style": {"function": "regex", "pattern": "[^.!?\\n]+\\."}},
        "stages": KINDS[kind],
    }
    if kind == "chain":
        found["data"]["heldout"] = heldout
        found["eval"] = {"data": "heldout", "max_new_tokens": 8, "samples": 2}
    return found


def pt(folder: Path, command: str, *options: str) -> tuple[int, str]:
    """The exit code of `pt COMMAND recipe.json` in `folder`, and what it wrote to standard output.

    Standard error goes to COMMAND.log. What the program does not catch is exit code 70.
    """
    out = folder / f"{command}.txt"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for descriptor, path in ((1, out), (2, folder / f"{command}.log")):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        code = 70
        try:
            cli.main([command, "recipe.json", *options])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), out.read_text()


@dataclass(frozen=True)
class Cell:
    """What became of a recipe: it ran, was refused with `refusals`, or went wrong."""

    refusals: tuple[str, ...] = ()
    wrong: str = ""


def tried(model: Path, kind: str, folder: Path) -> Cell:
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe(model, kind), indent=1))
    code, told = pt(folder, "validate", "--format", "json")
    diagnostics = [json.loads(line) for line in told.splitlines()]
    errors = [found for found in diagnostics if found["severity"] == "error"]
    if code == Exit.WRONG_INPUT and all(error["line"] for error in errors):
        return Cell(refusals=tuple(dict.fromkeys(map(refusal, errors))))
    if code:
        return Cell(wrong=f"pt validate: exit {code}, {errors}")
    code, told = pt(folder, "plan", "--format", "json")
    if code:
        return Cell(wrong=f"pt plan: exit {code} of a valid recipe, {last_line(folder / 'plan.log')}")
    planned = {stage["stage"]: stage["trainable_parameters"] for stage in json.loads(told)["stages"]}
    code, _ = pt(folder, "run")
    if code:
        return Cell(wrong=f"pt run: exit {code} of a valid recipe, {last_line(folder / 'run.log')}")
    records = {name: folder / "outputs/out" / name / "stage.json" for name in planned}
    trained = {name: json.loads(path.read_text())["trainable_parameters"] for name, path in records.items()}
    return Cell() if trained == planned else Cell(wrong=f"parameters: planned {planned}, trained {trained}")


def refusal(error: Mapping[str, Any]) -> str:
    """What an error says, whichever stage it is said of."""
    message = re.sub(r'^stage "\w+": ', "", error["message"])
    return f"`{error['code']}`: {message} ({error['hint']})"


def last_line(log: Path) -> str:
    """The error in a log, or what stands last in it."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in lines if "error[" in line), lines[-2] if len(lines) > 1 else "")


def matrix(models: Iterable[str], kinds: Sequence[str], folder: Path) -> Iterator[tuple[str, str, Cell]]:
    """Each cell, tried or read from `folder`, where its result is kept."""
    for name in models:
        model = folder / "models" / name
        if not (model / "config.json").exists():
            FAMILIES[name].save(model)
        for kind in kinds:
            result = folder / "cells" / f"{name} {kind}.json"
            if not result.exists():
                run = folder / "runs" / name / kind
                shutil.rmtree(run, ignore_errors=True)
                cell = tried(model, kind, run)
                shutil.rmtree(run / "outputs", ignore_errors=True)
                result.parent.mkdir(exist_ok=True)
                result.write_text(json.dumps(asdict(cell)))
            found = json.loads(result.read_text())
            yield name, kind, Cell(tuple(found["refusals"]), found["wrong"])


def table(cells: Mapping[tuple[str, str], Cell]) -> str:
    """A row a model, a column a kind of recipe; a refused one shows its codes; the messages stand below."""
    models, kinds = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    lines = [f"| | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    lines += [f"| {model} | {' | '.join(shown(cells[model, kind]) for kind in kinds)} |" for model in models]
    refusals = sorted({refusal for cell in cells.values() for refusal in cell.refusals})
    return "\n".join([*lines, "", *(f"- {refusal}" for refusal in refusals)])


def shown(cell: Cell) -> str:
    codes = dict.fromkeys(refusal.partition(":")[0] for refusal in cell.refusals)
    return f"WRONG {cell.wrong}" if cell.wrong else ", ".join(codes) or "runs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="MODEL")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="Leave models, logs and results in this folder.")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # so that no fork looks for garbage in what was imported
    cells: dict[tuple[str, str], Cell] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model, kind, cell in matrix(options.models, options.kinds, options.keep or Path(folder)):
            cells[model, kind] = cell
            print(f"{model} {kind}: {shown(cell)}", file=sys.stderr, flush=True)
    print(table(cells))
    wrong = sum(bool(cell.wrong) for cell in cells.values())
    refused = sum(bool(cell.refusals) for cell in cells.values())
    runs = len(cells) - refused - wrong
    print(f"\n{len(cells)} recipes: {runs} run, {refused} are refused, {wrong} are wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
