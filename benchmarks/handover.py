"""SFT, then DPO from its adapter, through ptspec, raw TRL and other tools.

Measures what the chain costs, whether DPO's reference is the policy that came in, and whether the saved
adapter computes what the policy in memory computes.

    python benchmarks/handover.py --install trl_cli llamafactory ms_swift oumi axolotl    # once
    python benchmarks/handover.py                     # every peer that is installed; prints Markdown tables
    python benchmarks/handover.py --only ptspec trl --repeats 3
    python benchmarks/handover.py --only ptspec trl_cli --defaults --repeats 3

The chain is that of peers/chain.py, the peers those of peers/with_*.py, with ptspec's precision and without
gradient checkpointing; with --defaults those of them that have other settings of their own run with these.
Everything runs on the processor from the files of data/. The peers take turns: in --repeats turns whole
processes are measured, in one more peers/hook looks on while they train. Ratios are medians over the turns.
Distances are means of |difference of log-probability| over the tokens of held-out conversations, in nats.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from peers import chain, tables
from peers.chain import ROOT, Peer
from peers.environments import Environments
from peers.tables import Row, Seen
from whole_process import Cost, Failed, measured

BUILD = ROOT / "build"
WORK = BUILD / "handover"
HOOK = Path(__file__).parent / "peers/hook"
NAMES = ("ptspec", "trl", "trl_cli", "llamafactory", "ms_swift", "oumi", "axolotl")
LIMIT = 600
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


def peers_of(name: str, defaults: bool = False) -> Sequence[Peer]:
    module = import_module(f"peers.with_{name}")
    found: Sequence[Peer] = getattr(module, "DEFAULTS", module.PEERS) if defaults else module.PEERS
    return found


def run(peer: Peer, programs: Path, work: Path, watching: dict[str, str] | None = None) -> list[Cost]:
    """The chain in the fresh folder `work`; what its processes cost. Raises Failed where one breaks."""
    work.mkdir(parents=True)
    path = os.pathsep.join(filter(None, (str(HOOK) if watching else None, peer.settings.get("PYTHONPATH"))))
    environment = {
        # Bytecode is kept, as that of an installed package is.
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **QUIET,
        "HF_DATASETS_CACHE": str(work / "cache"),  # no turn finds what an earlier one tokenised
        **peer.settings,
        "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
        "PYTHONPATH": path,
        **(watching or {}),
    }
    costs = []
    for number, command in enumerate(peer.commands(work, programs)):
        cost = measured(command, environment, work, LIMIT)
        if number not in peer.uncounted:
            costs.append(cost)
    return costs


def watch(row: Row, programs: Path, work: Path, probes: Path) -> Seen:
    """The chain once more with the hook; where its policies stand."""
    from peers.likelihoods import distance, logps

    records = work.with_suffix(".records")
    records.mkdir()
    asked = json.loads(probes.read_text())
    run(row.peer, programs, work, {"HANDOVER_RECORDS": str(records), "HANDOVER_PROBES": str(probes)})
    sft, dpo = (json.loads((records / f"{number}.json").read_text()) for number in (0, 1))
    base, saved_sft = logps(chain.BASE, asked)[0], logps(work / row.peer.sft, asked)[0]
    saved, opens = logps(work / row.peer.dpo, asked)
    return Seen(
        logged=(sft["logged"], dpo["logged"]),
        begins=distance(dpo["before"], sft["after"]),
        saved=distance(saved, dpo["after"]),
        to_sft=distance(saved, saved_sft),
        to_base=distance(saved, base),
        opens=opens,
    )


def measure_all(rows: Sequence[Row], environments: Environments, repeats: int) -> None:
    """The peers take turns, each second one backwards: what else the machine does falls on all of them.

    This process has no torch yet: see whole_process.py.
    """
    for turn in range(repeats):
        for row in list(rows)[:: 1 if turn % 2 == 0 else -1]:
            if row.version is None or row.error:
                continue
            work = WORK / f"{rows.index(row)}_{turn}"
            try:
                row.turns.append(run(row.peer, environments.programs(row.peer), work))
            except Failed as failed:
                row.error = tables.reason(failed)
            print(row.peer.title, row.error or row.turns[-1], file=sys.stderr, flush=True)


def watch_all(rows: Sequence[Row], environments: Environments) -> None:
    from peers.likelihoods import probes

    file = WORK / "probes.json"
    file.write_text(json.dumps(probes()), encoding="utf-8")
    for number, row in enumerate(rows):
        if row.version is None or row.error:
            continue
        try:
            row.seen = watch(row, environments.programs(row.peer), WORK / f"{number}_watched", file)
        except Failed as failed:
            row.error = tables.reason(failed)
        print(row.peer.title, row.error or "watched", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="PEER")
    parser.add_argument("--install", nargs="+", choices=NAMES[2:], metavar="PEER")
    parser.add_argument("--environments", type=Path, default=BUILD, help="the folder of the environments")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--steps", type=int, default=chain.STEPS, help="of each of the two trainings")
    parser.add_argument("--unwatched", action="store_true", help="costs alone")
    wanted: Any = parser.parse_args()
    environments = Environments(wanted.environments)
    if wanted.install:
        for name in wanted.install:
            environments.install(peers_of(name)[0])
        return
    chain.STEPS = wanted.steps
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    found = [peer for name in wanted.only for peer in peers_of(name, wanted.defaults)]
    rows = [Row(peer, environments.version(peer)) for peer in found]
    measure_all(rows, environments, wanted.repeats)
    print(tables.costs(rows))
    if not wanted.unwatched:
        os.environ.update(QUIET)
        watch_all(rows, environments)
        print(f"\n{tables.policies(rows)}\n\n{tables.losses(rows)}")


if __name__ == "__main__":
    main()
