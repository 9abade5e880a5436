"""Runs made larger by script from a real one: more stages, more held-out rows, more logged steps.

Nothing is trained: stages are mixtures of the stages of a run of recipes/sft_dpo.json, with noise, so that
reports can be looked at and timed at sizes that would take hours.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec.evaluation import store
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.comparison_store import save_comparison
from ptspec.evaluation.measurement import DataStamp, Measurement, RowMeasurement, trained_by
from ptspec.evaluation.paired.compare import compare
from ptspec.store.files import write_json

Json = dict[str, Any]


def many_stages(run: Path, output: Path, stages: int) -> Path:
    """The sft stage of `run`, then dpo stages from it, `stages` in all, each better than sft or not."""
    manifest, record = _json(run / "manifest.json"), _json(run / "dpo" / "stage.json")
    steps = _rows(run / "dpo" / "metrics.jsonl")
    shutil.copytree(run, output)
    shutil.rmtree(output / "dpo")
    sft, dpo = store.load_measurement(run / "sft"), store.load_measurement(run / "dpo")
    specs, events = [manifest["recipe"]["stages"][0]], _rows(run / "events.jsonl")
    told = [event for event in events if event.get("stage") == "sft"]
    for index in range(1, stages):
        name, beta = f"dpo_{index:02d}", round(0.01 * 1.06**index, 4)
        dice = random.Random(index)
        share = 0.5 + 0.5 * dice.random() if index % 4 else 0.05 * dice.random()
        rows = [_mixed(a, b, share, dice) for a, b in zip(sft.rows, dpo.rows, strict=True)]
        folder = output / name
        folder.mkdir()
        config = {**record["ingredients"]["config"], "beta": beta}
        ingredients = {**record["ingredients"], "config": config}
        seconds = record["seconds"] * dice.uniform(0.8, 1.2)
        own = {"stage": name, "fingerprint": name, "ingredients": ingredients, "seconds": seconds}
        write_json(folder / "stage.json", {**record, **own})
        noisy = [{k: _shaken(k, v, dice) for k, v in step.items()} for step in steps]
        _write_rows(folder / "metrics.jsonl", noisy)
        _measured(folder, replace(dpo, name=name), rows, sft)
        specs.append({**manifest["recipe"]["stages"][1], "name": name, "config": config, "from": "sft"})
        told += [{**event, "stage": name} for event in events if event.get("stage") == "dpo"]
    started = next(event for event in events if event["event"] == "RunStarted")
    lines = [started["stages"][0], *({**started["stages"][1], "name": spec["name"]} for spec in specs[1:])]
    finished = {**events[-1], "stages": [spec["name"] for spec in specs]}
    base = [event for event in events if event.get("stage") == "base"]
    _write_rows(output / "events.jsonl", [{**started, "stages": lines}, *base, *told, finished])
    recipe = {**manifest["recipe"], "stages": specs}
    write_json(output / "manifest.json", {**manifest, "recipe": recipe})
    return output


def many_rows(run: Path, output: Path, rows: int) -> Path:
    """`run` with `rows` held-out rows: its own again and again, under other ids and with noise."""
    shutil.copytree(run, output)
    before = None
    for name in ("base", "sft", "dpo"):
        measured = store.load_measurement(run / name)
        dice = random.Random(name)
        made = [_numbered(measured.rows[index % len(measured.rows)], index, dice) for index in range(rows)]
        before = _measured(output / name, measured, made, before, method=None if name == "base" else name)
    return output


def many_steps(run: Path, output: Path, steps: int) -> Path:
    """`run` whose dpo stage logged `steps` steps."""
    shutil.copytree(run, output)
    pattern = _rows(run / "dpo" / "metrics.jsonl")
    dice = random.Random(0)
    with (output / "dpo" / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            row = pattern[step % len(pattern)]
            file.write(json.dumps({**{k: _shaken(k, v, dice) for k, v in row.items()}, "step": step}) + "\n")
    return output


def _measured(
    folder: Path,
    like: Measurement,
    rows: Sequence[RowMeasurement],
    before: Measurement | None,
    method: str | None = "dpo",
) -> Measurement:
    stamp = replace(like.data, rows=len(rows)) if like.data else DataStamp("data/eval.jsonl", "", len(rows))
    made = replace(
        like, rows=tuple(rows), metrics=aggregates(rows, seed=1), data=stamp, fingerprint=f"{folder}"
    )
    made = trained_by(made, method)
    store.write(folder, made, samples=8)
    if before is not None:
        save_comparison(folder, compare([before, made]))
    return made


def _mixed(a: RowMeasurement, b: RowMeasurement, share: float, dice: random.Random) -> RowMeasurement:
    row = b if dice.random() < share else replace(a, margin=dice.gauss(0, 0.02))
    return replace(row, nll=row.nll * dice.uniform(0.97, 1.03)) if row.nll is not None else row


def _numbered(row: RowMeasurement, index: int, dice: random.Random) -> RowMeasurement:
    nll = row.nll * dice.uniform(0.9, 1.1) if row.nll is not None else None
    return replace(row, id=f"{row.id}-{index}", prompt=f"{row.prompt} ({index})", nll=nll)


def _shaken(key: str, value: float, dice: random.Random) -> float:
    return value if key in ("step", "epoch", "learning_rate") else value * dice.uniform(0.9, 1.1)


def _json(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def _rows(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
