"""Healthy and sick training curves of every method, for docs/methods.md: docs/images/curves_METHOD.png.

    python benchmarks/curves.py                # trains what is not there yet, and draws
    python benchmarks/curves.py --draw-only

One recipe over the shipped base: an SFT, and of each method a stage as the recipes in recipes/ have it beside
stages with one thing wrong. Every curve is what TRL logged. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from PIL import Image

import ptspec

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "outputs" / "curves"
IMAGES = ROOT / "docs" / "images"

COLOURS = ("#1a7f37", "#9a6700", "#cf222e")
"""Healthy; two ways of being sick."""


@dataclass(frozen=True)
class Curves:
    """The curves of a method.

    `metrics`: what is drawn, a panel each. `stages`: label in the legend -> what the stage has besides
    `common`; the first is the healthy one. `origin`: where they start from.
    """

    metrics: tuple[str, ...]
    common: dict[str, Any]
    stages: dict[str, dict[str, Any]]
    origin: str = "sft"
    keys: dict[str, Any] | None = None


SAMPLED = {
    "per_device_train_batch_size": 32,
    "num_generations": 8,
    "max_completion_length": 32,
    "max_steps": 16,
}
PAIRS = {"per_device_train_batch_size": 16, "max_steps": 40}
REWARDS = {"rewards": ["correct", "style"]}

METHODS = {
    "sft": Curves(
        ("loss", "mean_token_accuracy"),
        {"per_device_train_batch_size": 16, "max_steps": 60},
        {
            "healthy": {"learning_rate": 2e-3},
            "rate too low (2e-6)": {"learning_rate": 2e-6},
            "rate too high (0.2)": {"learning_rate": 0.2},
        },
        "base",
    ),
    "dpo": Curves(
        ("loss", "rewards/margins", "rewards/chosen"),
        {**PAIRS, "beta": 0.5},
        {
            "healthy": {"learning_rate": 2e-4},
            "rate too low (1e-6)": {"learning_rate": 1e-6},
            "rate too high (1e-2)": {"learning_rate": 1e-2},
        },
    ),
    "orpo": Curves(
        ("loss", "log_odds_chosen", "rewards/accuracies"),
        PAIRS,
        {
            "healthy": {"learning_rate": 2e-3, "beta": 0.2},
            "rate too low (2e-6)": {"learning_rate": 2e-6, "beta": 0.2},
            "rate too high (0.2)": {"learning_rate": 0.2, "beta": 0.2},
        },
        "base",
    ),
    "cpo": Curves(
        ("rewards/margins", "logps/chosen", "logps/rejected"),
        PAIRS,
        {
            "healthy": {"learning_rate": 5e-4},
            "rate too low (1e-6)": {"learning_rate": 1e-6},
            "no NLL term, high rate": {"learning_rate": 5e-3, "cpo_alpha": 0.0},
        },
    ),
    "kto": Curves(
        ("loss", "rewards/margins", "kl"),
        {"per_device_train_batch_size": 32, "max_steps": 40},
        {
            "healthy": {"learning_rate": 5e-4},
            "rate too low (1e-6)": {"learning_rate": 1e-6},
            "beta 0.001, high rate": {"learning_rate": 5e-3, "beta": 0.001},
        },
    ),
    "grpo": Curves(
        ("reward", "frac_reward_zero_std", "entropy"),
        SAMPLED,
        {
            "healthy": {"learning_rate": 1e-3},
            "all answers worth the same": {"learning_rate": 1e-3, "rewards": ["always"]},
            "rate too high (5e-2)": {"learning_rate": 5e-2},
        },
        keys=REWARDS,
    ),
    "rloo": Curves(
        ("reward", "kl", "entropy"),
        SAMPLED,
        {
            "healthy": {"learning_rate": 1e-3},
            "beta 5: the penalty wins": {"learning_rate": 1e-3, "beta": 5.0},
            "rate too high (5e-2)": {"learning_rate": 5e-2},
        },
        keys=REWARDS,
    ),
    "nash_md": Curves(
        ("win_rate/reference", "win_rate/mixture", "kl"),
        {**SAMPLED, "beta": 0.02, "mixture_coef": 0.125, "probe_steps": 2},
        {
            "healthy": {"learning_rate": 1e-3},
            "rate too low (1e-6)": {"learning_rate": 1e-6},
            "beta 1e-4, rate too high (5e-2)": {"learning_rate": 5e-2, "beta": 1e-4},
        },
        keys={"judge": "plainer"},
    ),
    "distillation": Curves(
        ("loss", "completions/mean_length"),
        {"per_device_train_batch_size": 32, "max_completion_length": 32, "max_steps": 25, "beta": 0.0},
        {
            "healthy": {"learning_rate": 2e-3},
            "rate too low (2e-6)": {"learning_rate": 2e-6},
            "rate too high (0.1)": {"learning_rate": 0.1},
        },
        "base",
        {"teacher": "sft"},
    ),
    "reward": Curves(
        ("loss", "accuracy", "margin"),
        PAIRS,
        {
            "healthy": {"learning_rate": 1e-3},
            "rate too low (2e-6)": {"learning_rate": 2e-6},
            "rate too high (0.2)": {"learning_rate": 0.2},
        },
        "base",
    ),
}


def name_of(method: str, number: int) -> str:
    return method if number == 0 else f"{method}_sick_{number}"


def stages() -> list[dict[str, Any]]:
    made = []
    for method, curves in METHODS.items():
        for number, own in enumerate(curves.stages.values()):
            config = {**curves.common, **own, "logging_steps": 1}
            keys = {key: config.pop(key) for key in ("rewards",) if key in config}
            stage = {
                "name": name_of(method, number),
                "method": method,
                "from": curves.origin,
                "data": "train",
            }
            made.append({**stage, **(curves.keys or {}), **keys, "config": config})
    return made


def recipe() -> dict[str, Any]:
    style = {"function": "regex", "pattern": "[^.!?\\n]+\\.", "weight": 0.5}
    return {
        "name": "curves",
        "model": str(ROOT / "data/base_model"),
        "adapter": {"use_lora": True, "r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        "data": {"train": {"path": str(ROOT / "data/train.jsonl")}},
        "rewards": {
            "correct": {"function": "contains_answer"},
            "style": style,
            "always": {"function": "length", "max": 1000},
        },
        "judges": {"plainer": {"reward": "style"}},
        "stages": stages(),
    }


def logged(stage: str) -> list[dict[str, Any]]:
    lines = (OUTPUT / stage / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def draw(method: str, curves: Curves) -> None:
    figure, axes = plt.subplots(1, len(curves.metrics), figsize=(3.4 * len(curves.metrics), 2.7))
    for axis, metric in zip(axes, curves.metrics, strict=True):
        for number, label in enumerate(curves.stages):
            rows = [row for row in logged(name_of(method, number)) if row.get(metric) is not None]
            style = "-" if number == 0 else "--" if number == 1 else ":"
            line = {"color": COLOURS[number], "linestyle": style, "linewidth": 1.6}
            axis.plot([row["step"] for row in rows], [row[metric] for row in rows], label=label, **line)
        values = [row[metric] for row in logged(method) if row.get(metric) is not None]
        assert values, f"{method} logged no {metric}"
        # The healthy curve is to be read: a sick one may leave the panel.
        span = max(max(values) - min(values), 1e-6)
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, min(values) - 1.5 * span), min(high, max(values) + 1.5 * span))
        axis.set_title(metric, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlabel("step", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    path = IMAGES / f"curves_{method}.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(48).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw-only", action="store_true")
    if not parser.parse_args().draw_only:
        ptspec.load(recipe()).run(output=OUTPUT, on_event=lambda event: print(type(event).__name__, end=" "))
    for method, curves in METHODS.items():
        draw(method, curves)
        print(f"docs/images/curves_{method}.png")


if __name__ == "__main__":
    main()
