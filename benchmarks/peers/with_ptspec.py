"""ptspec: one recipe, one process; the second stage is handed the first one's adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer, write_json


def recipe() -> dict[str, Any]:
    common = {
        "per_device_train_batch_size": chain.BATCH,
        "max_steps": chain.STEPS,
        "max_length": chain.MAX_LENGTH,
        "lr_scheduler_type": chain.SCHEDULE,
    }
    adapter = {"r": chain.RANK, "lora_alpha": chain.ALPHA, "target_modules": "all-linear"}
    dpo = {**common, "learning_rate": chain.DPO_RATE, "beta": chain.BETA}
    return {
        "version": 1,
        "seed": chain.SEED,
        "model": str(chain.BASE),
        "adapter": {"use_lora": True, **adapter},
        "data": {"train": {"path": str(chain.TRAIN)}},
        "stages": [
            {
                "name": "sft",
                "method": "sft",
                "data": "train",
                "config": {**common, "learning_rate": chain.SFT_RATE},
            },
            {"name": "dpo", "method": "dpo", "data": "train", "config": dpo},
        ],
    }


def commands(work: Path, programs: Path) -> list[list[str]]:
    written = write_json(work / "handover.json", recipe())
    return [[str(programs / "pt"), "run", written, "--output", str(work / "run"), "--fresh"]]


PEERS = (
    Peer(
        "ptspec",
        "ptspec",
        commands,
        sft="run/sft",
        dpo="run/dpo",
        settings={"PYTHONPATH": str(chain.ROOT)},
    ),
)
