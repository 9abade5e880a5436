"""SFT, then DPO from its adapter, through ptspec, raw TRL and other tools: is DPO's reference the policy that
came in, and does the saved adapter compute what the policy in memory computes?

    python benchmarks/handover.py --install llamafactory ms_swift oumi axolotl    # once, into build/peers
    python benchmarks/handover.py                     # every peer that is installed; prints a Markdown table
    python benchmarks/handover.py --only ptspec trl --repeats 3

The chain is that of peers/chain.py, the peers those of peers/with_*.py; everything runs on the processor from
the files of data/. Distances are means of |difference of log-probability| over the tokens of held-out
conversations, in nats. Processor time is that of all processes of a chain.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import ROOT, Peer

BUILD = ROOT / "build"
WORK = BUILD / "handover"
HOOK = Path(__file__).parent / "peers/hook"
NAMES = ("ptspec", "trl", "llamafactory", "ms_swift", "oumi", "axolotl")
TORCH = "torch==2.13.0"
LIMIT = 400
"""Seconds that one process of a peer may take."""

QUIET = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
}
MARGIN = "rewards/margins"


@dataclass(frozen=True)
class Measured:
    """One chain of one peer. `margin` and `loss` are those of the first logged DPO step."""

    seconds: float
    processor: float
    margin: float | None
    loss: float | None
    begins: float
    saved: float
    to_sft: float
    to_base: float
    opens: bool


@dataclass
class Row:
    peer: Peer
    version: str | None
    runs: list[Measured] = field(default_factory=list)
    fault: str = ""


def peers_of(name: str) -> Sequence[Peer]:
    found: Sequence[Peer] = import_module(f"peers.with_{name}").PEERS
    return found


def programs(peer: Peer) -> Path:
    """Its `bin`. Not resolved: a virtual environment's python is a link."""
    return BUILD / "peers" / peer.environment / "bin" if peer.environment else Path(sys.executable).parent


def install(peer: Peer) -> None:
    """Makes the virtual environment: torch first, and the same torch as a constraint on everything else."""
    folder = programs(peer).parent
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--no-cache-dir"]
    constraint = BUILD / "peers/constraints.txt"
    constraint.write_text(TORCH + "\n", encoding="utf-8")
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run(
        [*pip, *peer.requirements], check=True, env={**os.environ, "PIP_CONSTRAINT": str(constraint)}
    )
    if peer.alone:
        subprocess.run([*pip, "--no-deps", *peer.alone], check=True)
    for pattern in peer.removed:
        for found in folder.glob(f"lib/python*/site-packages/{pattern}"):
            shutil.rmtree(found)


def version(peer: Peer) -> str | None:
    """The installed version, None where it is not installed."""
    python = programs(peer) / "python"
    if not python.exists():
        return None
    asked = f"from importlib.metadata import version; print(version({peer.package!r}))"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True)
    return done.stdout.strip() or None


def probes() -> list[list[int]]:
    """Conversations of the held-out file as token ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chain.BASE)
    lines = (ROOT / "data/eval.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    pairs = [(row["prompt"], row[kind]) for row in map(json.loads, lines) for kind in ("chosen", "rejected")]
    turns = [[chain.user(prompt), chain.assistant(answer)] for prompt, answer in pairs]
    return [list(tokenizer.apply_chat_template(turn, return_dict=False)) for turn in turns]


def run(peer: Peer, work: Path) -> Measured:
    """The chain in the fresh folder `work`, timed as whole processes; raises RuntimeError where it breaks."""
    records = work / "records"
    records.mkdir(parents=True)
    path = os.pathsep.join(filter(None, (str(HOOK), peer.settings.get("PYTHONPATH"))))
    environment = {
        **os.environ,
        **peer.settings,
        "PATH": os.pathsep.join((str(programs(peer)), os.environ["PATH"])),
        "PYTHONPATH": path,
        "HANDOVER_RECORDS": str(records),
        "HANDOVER_PROBES": str(WORK / "probes.json"),
    }
    seconds = processor = 0.0
    for number, command in enumerate(peer.commands(work, programs(peer))):
        begun, used = time.monotonic(), children()
        call(command, work, environment, work / f"process_{number}.log")
        seconds, processor = seconds + time.monotonic() - begun, processor + children() - used
    return measured(peer, work, seconds, processor)


def children() -> float:
    """Processor seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(command: list[str], work: Path, environment: dict[str, str], log: Path) -> None:
    with log.open("w", encoding="utf-8") as out:
        try:
            done = subprocess.run(
                command, cwd=work, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not done after {LIMIT} s") from None
    if done.returncode:
        said = [line for line in log.read_text(encoding="utf-8").splitlines() if "Error" in line] or [
            "no word"
        ]
        raise RuntimeError(f"exit {done.returncode}: {said[-1].strip()[:160]}")


def measured(peer: Peer, work: Path, seconds: float, processor: float) -> Measured:
    sft, dpo = (json.loads((work / "records" / f"{number}.json").read_text()) for number in (0, 1))
    first = next((row for row in dpo["logged"] if "loss" in row), {})
    base, saved_sft, (saved, opens) = logps(chain.BASE)[0], logps(work / peer.sft)[0], logps(work / peer.dpo)
    return Measured(
        seconds=seconds,
        processor=processor,
        margin=first.get(MARGIN),
        loss=first.get("loss"),
        begins=distance(dpo["before"], sft["after"]),
        saved=distance(saved, dpo["after"]),
        to_sft=distance(saved, saved_sft),
        to_base=distance(saved, base),
        opens=opens,
    )


def logps(folder: Path) -> tuple[list[float], bool]:
    """The probes' log-probabilities under what lies in `folder`, and whether it opens with the one line that
    PEFT has for it. Where it does not, it is laid over the base by hand, as a user would."""
    import torch
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM

    opens = True
    if not (folder / "adapter_config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(folder)
    else:
        try:
            model = AutoPeftModelForCausalLM.from_pretrained(folder)
        except (OSError, ValueError):  # it names no base
            opens = False
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chain.BASE), folder)
    model.eval()
    found: list[float] = []
    with torch.no_grad():
        for ids in json.loads((WORK / "probes.json").read_text()):
            tokens = torch.tensor([ids])
            logits = model(input_ids=tokens).logits[0, :-1].float()
            found += torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0].tolist()
    return found, opens


def distance(ours: list[float], theirs: list[float]) -> float:
    return statistics.fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def benchmark(names: Sequence[str], repeats: int) -> list[Row]:
    """The peers take turns, so that what else the machine does falls on all of them."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    (WORK / "probes.json").write_text(json.dumps(probes()), encoding="utf-8")
    rows = [Row(peer, version(peer)) for name in names for peer in peers_of(name)]
    for turn in range(repeats):
        for number, row in enumerate(rows):
            if row.version is None or row.fault:
                continue
            try:
                row.runs.append(run(row.peer, WORK / f"{number}_{turn}"))
            except RuntimeError as error:
                row.fault = str(error)
            print(row.peer.title, row.fault or row.runs[-1], file=sys.stderr, flush=True)
    return rows


TITLES = (
    "",
    "version",
    "first DPO margin",
    "first DPO loss",
    "DPO's start − SFT's end",
    "opens",
    "saved − in memory",
    "saved − SFT",
    "saved − base",
    "chain, s",
    "× raw TRL",
    "processor, × raw TRL",
)


def table(rows: Sequence[Row]) -> str:
    raw = next((row for row in rows if row.peer.package == "trl" and row.runs), None)
    head = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|"]
    return "\n".join([*head, *(f"| {' | '.join(cells(row, raw))} |" for row in rows)])


def cells(row: Row, raw: Row | None) -> list[str]:
    """What the row shows; times are medians of its runs, the rest is of the first."""
    name = row.peer.title
    if row.version is None or not row.runs:
        fault = row.fault.replace("|", "/") if row.version else "not installed"
        return [name, row.version or "", fault, *[""] * (len(TITLES) - 3)]
    found = row.runs[0]
    return [
        name,
        row.version,
        shown(found.margin),
        "not logged" if found.loss is None else f"{found.loss:.4f}",
        shown(found.begins),
        "yes" if found.opens else "no",
        *map(shown, (found.saved, found.to_sft, found.to_base)),
        f"{median(row, 'seconds'):.0f}",
        *(ratio(row, raw, time) for time in ("seconds", "processor")),
    ]


def median(row: Row, name: str) -> float:
    return statistics.median(getattr(run, name) for run in row.runs)


def ratio(row: Row, raw: Row | None, name: str) -> str:
    return "" if raw is None else f"{median(row, name) / median(raw, name):.1f}"


def shown(value: float | None) -> str:
    if value is None:
        return "not logged"
    return "0" if abs(value) < 1e-6 else f"{value:.3f}" if abs(value) >= 1e-3 else f"{value:.0e}"


def main() -> None:
    os.environ.update(QUIET)
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="PEER")
    parser.add_argument("--install", nargs="+", choices=NAMES[2:], metavar="PEER")
    parser.add_argument("--repeats", type=int, default=1)
    wanted: Any = parser.parse_args()
    if wanted.install:
        for name in wanted.install:
            install(peers_of(name)[0])
        return
    rows = benchmark(wanted.only, wanted.repeats)
    print(table(rows))


if __name__ == "__main__":
    main()
