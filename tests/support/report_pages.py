"""Runs' folders as a run leaves them, with whatever a model, a data file or a recipe may hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from ptspec import methods
from ptspec.evaluation import store
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.measurement import DataStamp, Measurement, RowMeasurement, Settings, row_ids
from ptspec.events import Figure
from ptspec.recipe.plan import ComputeSpec
from ptspec.store.covered_config import covered_config
from ptspec.store.files import write_json

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    '"><img src=x onerror="window.hacked = 3">',
    "<!-- ]]> {{ 7 * 7 }} {% raw %} ${7*7}",
    "right\u202eto left\u202c, \u2066isolated\u2069",
    "null \x00, escape \x1b[31mred\x1b[0m, bell \x07, \u2028 and \u2029",
    "line\r\nbreaks\nand\ttabs",
    "</style><style>body { display: none }</style>",
    "&amp; &lt; &#x3c;script&#x3e;",
    "",
)


def measurement(
    name: str, rows: int = 40, *, better: float = 0.0, reference: str | None = None
) -> Measurement:
    """A policy on `rows` prompts, hostile ones among them; the larger `better`, the more it gets right."""
    prompts = [f"{HOSTILE[i % len(HOSTILE)]} prompt {i}" for i in range(rows)]
    measured = tuple(
        RowMeasurement(
            id=key,
            prompt=prompt,
            expected=f"expected {HOSTILE[(i + 1) % len(HOSTILE)]}",
            answer=f"answer {i}",
            nll=(2.0 - better) * (1 + i % 7),
            tokens=4 + i % 5,
            bytes=20 + i % 9,
            logp_chosen=-3.0 - i % 3,
            logp_rejected=-4.0 + (i % 5),
            chosen_tokens=5,
            rejected_tokens=6,
            margin=1.0 - (i % 5) * 0.4 + better,
            response=HOSTILE[(i + 3) % len(HOSTILE)],
            response_tokens=3 + i % 11,
            finished=i % 4 != 0,
            repetition=0.1 * (i % 3),
            correct=(i * 7) % 10 < 3 + 5 * better,
            rewards={"style": (i % 10) / 10 + better, "<b>bold</b>": float(i % 2)},
            slices={"topic": ("<i>pets</i>", "towns")[i % 2], "number": str(i)},
        )
        for i, (key, prompt) in enumerate(zip(row_ids(prompts), prompts, strict=True))
    )
    return Measurement(
        name,
        measured,
        aggregates(measured, seed=1),
        Settings(seed=1, max_new_tokens=16, preference_reference=reference or "raw likelihood", chat=True),
        DataStamp("data/eval.jsonl", "ab" * 32, rows),
        seconds=1.25,
    )


def reward_model(name: str) -> Measurement:
    rows = tuple(RowMeasurement(id=str(i), prompt=f"p{i}", margin=0.5) for i in range(8))
    metrics = {"pair_accuracy": Figure(0.875, 0.53, 0.98), "pair_margin": Figure(0.5, 0.4, 0.6)}
    return Measurement(
        name, rows, metrics, Settings(1, 0, "the reward model's own scores", False), seconds=0.5
    )


@dataclass
class MadeRun:
    """A run's folder in the making."""

    output: Path
    stages: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    eval: dict | None = field(default_factory=lambda: {"data": "heldout"})
    compute: dict | None = None

    def start(self) -> None:
        lines = [
            {"name": s["name"], "method": s["method"], "parent": s.get("from", "base"), "handover": None,
             "reference": None}
            for s in self.stages
        ]  # fmt: skip
        self.say("RunStarted", name="made", model="data/base", parameters=1_020_032, setup="LoRA r16",
                 device="cpu, 1 thread", output=str(self.output), stages=lines, log="run.log")  # fmt: skip

    def say(self, event: str, **about) -> None:
        self.events.append({"time": "2026-11-24T09:00:00+00:00", "event": event, **about})

    def base(self, measured: Measurement) -> None:
        (self.output / "base").mkdir(parents=True)
        store.write(self.output / "base", measured, samples=3)

    def stage(
        self,
        name: str,
        method: str,
        measured: Measurement | None,
        *,
        parent: str = "base",
        steps: list[dict] | None = None,
        folder: str | None = None,
        trained_by: ComputeSpec | None = None,
    ) -> Path:
        """A finished stage; with `folder` None it is done, else only that folder is there."""
        self.stages.append(
            {"name": name, "method": method, "data": "train", "config": {"beta": 0.1}, "rewards": ["style"]}
        )
        place = self.output / (folder or name)
        place.mkdir(parents=True)
        rows = (
            steps
            if steps is not None
            else [{"step": i, "loss": 2.0 / i, "grad_norm": 1.0} for i in range(1, 31)]
        )
        (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if folder is not None:
            return place
        config = covered_config(methods.get(method), {"beta": 0.1}, trained_by or ComputeSpec())
        record = {
            "format": 1, "stage": name, "method": method, "parent": parent, "handover": "continue",
            "reference": f"{parent}, frozen", "adapter": "LoRA r16", "fingerprint": f"print of {name}",
            "ingredients": {"method": method, "config": config,
                            "parent": "base" if parent == "base" else f"print of {parent}"},
            "steps": 30, "trainable_parameters": 163840, "seconds": 9.393, "peak_memory_bytes": 745390080,
            "checks": {"policy_to_handed_over": 2.5e-7, "policy_to_reference": None, "saved_to_trained": 0.0},
            "finished": "2026-11-24T09:10:07+00:00",
        }  # fmt: skip
        write_json(place / "stage.json", record)
        if measured is not None:
            store.write(place, measured, samples=3)
        return place

    def write(self, **changes) -> Path:
        self.output.mkdir(parents=True, exist_ok=True)
        recipe = {
            "version": 1,
            "description": HOSTILE[1],
            "data": {"train": {"path": "data/train.jsonl"}, "heldout": {"path": ["a.jsonl", "b.jsonl"]}},
            "stages": self.stages,
            "$comment": HOSTILE[0] + HOSTILE[4],
            **({"eval": self.eval} if self.eval else {}),
            **({"compute": self.compute} if self.compute else {}),
        }
        manifest = {
            "format": 1, "ptspec": "0.1.0", "name": "made", "written": "2026-11-24T09:10:37+00:00",
            "recipe_file": "recipes/made.json", "command": "pt run recipes/made.json --set 'x=<1>'",
            "working_directory": "/somewhere", "recipe": recipe, "seed": 42,
            "model": {"path": "data/base", "revision": None, "sha256": "cd" * 32},
            "data": {"train": ["ef" * 32, {}], "heldout": ["01" * 32, {}]},
            "stages": {}, "versions": {"torch": "2.13.0"},
            "environment": {"python": "3.11.7", "device": "cpu"},
        }  # fmt: skip
        write_json(self.output / "manifest.json", {**manifest, **changes})
        text = "".join(json.dumps(event) + "\n" for event in self.events)
        (self.output / "events.jsonl").write_text(text + '{"time": "torn')
        return self.output


def finished_run(output: Path) -> Path:
    """base → sft → dpo, all there, two checks."""
    run = MadeRun(output)
    run.base(measurement("base"))
    run.stage("sft", "sft", measurement("sft", better=0.3, reference="base"))
    run.stage("dpo", "dpo", measurement("dpo", better=0.9, reference="sft"), parent="sft")
    run.start()
    for name in ("sft", "dpo"):
        run.say("StageStarted", stage=name, rows=96, resumed_from_step=0, reason=HOSTILE[0])
        run.say("StageChecked", stage=name, summary="policy = reference, probes agree exactly")
        run.say("StageFinished", stage=name, folder=str(output / name))
    run.say("CheckEvaluated", stage="dpo", text="accuracy 0.7 ≥ 0.5", held=True, on_fail="stop")
    run.say("CheckEvaluated", stage="dpo", text="style 0.2 ≥ 0.5", held=False, on_fail="warn")
    run.say("Warned", stage="sft", text=HOSTILE[2])
    run.say("RunFinished", output=str(output), seconds=51.4, stages=["sft", "dpo"], report=None)
    return run.write()


@dataclass
class Cell:
    """A table cell that shows a measured number."""

    policy: str
    metric: str
    value: float = float("nan")
    text: str = ""
    low: float | None = None
    high: float | None = None
    interval: str = ""


class Page(HTMLParser):
    """What a browser's parser would find in the page, as far as the tests ask."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[Cell] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self._in_cell = False
        self.data = None
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._open.append(tag)
        if tag == "td":
            self._in_cell = "data-metric" in attributes
        if tag == "td" and self._in_cell:
            self.cells.append(Cell(attributes["data-policy"], attributes["data-metric"]))
        if tag == "data" and self._in_cell:
            self.cells[-1].value = float(attributes["value"])
        if "data-low" in attributes and self._in_cell:
            self.cells[-1].low, self.cells[-1].high = (
                float(attributes["data-low"]),
                float(attributes["data-high"]),
            )
            self._open[-1] = "interval"
        if tag in ("meta", "link", "input", "img", "br", "line", "circle", "rect"):
            self._open.pop()

    def handle_endtag(self, tag):
        if self._open and tag not in ("line", "circle"):
            self._open.pop()

    def handle_data(self, data):
        within = self._open[-1] if self._open else ""
        if within == "script" and data.startswith("{"):
            self.data = json.loads(data)
        elif within == "data" and self._in_cell:
            self.cells[-1].text = data
        elif within == "interval" and self._in_cell:
            self.cells[-1].interval = data
        if within not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())
