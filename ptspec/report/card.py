"""The model card of a stage: content, loading, training data, measurements.

Markdown with the hub's front matter, made from the run's folder alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec import methods
from ptspec.evaluation.measurement import Measurement
from ptspec.methods.types import Yields
from ptspec.recipe.paths import is_hub_id
from ptspec.recipe.plan import BASE
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.html.model import RunRecord, StageRecord
from ptspec.report.view.order import measures
from ptspec.report.view.policies import LEGEND, Policy, cell, is_zero


@dataclass(frozen=True)
class Card:
    """The data of a card: the stage `stage` of `run_record`.

    `base`: the hub id or path of the model it was trained from; `repository`: the target; `is_adapter`: an
    adapter instead of full weights; `datasets`: hub repositories among the sources.
    """

    run_record: RunRecord
    stage: str
    base: str
    repository: str
    is_adapter: bool
    datasets: Sequence[str] = ()

    @property
    def chain(self) -> list[StageRecord]:
        """The stages from the base to this one, each trained from the previous one."""
        by_name = {stage.name: stage for stage in self.run_record.stages}
        found: list[StageRecord] = []
        name: str | None = self.stage
        while name in by_name:
            found.insert(0, by_name[name])
            name = by_name[name].parent
        return found

    @property
    def is_reward_model(self) -> bool:
        """Whether the stage trained a reward model."""
        method = methods.find(self.chain[-1].method)
        return method is not None and method.yields is Yields.REWARD_MODEL


def model_card(card: Card) -> str:
    """Return the card as the text of a README.md."""
    parts = [_front_matter(card), _head(card), _use(card), _training(card), _evaluation(card), _recipe(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(card: Card) -> str:
    chain = card.chain
    lines = [f"library_name: {'peft' if card.is_adapter else 'transformers'}"]
    if is_hub_id(card.base):
        relation = "adapter" if card.is_adapter else "finetune"
        lines += [f"base_model: {card.base}", f"base_model_relation: {relation}"]
    lines += [f"pipeline_tag: {'text-classification' if card.is_reward_model else 'text-generation'}"]
    if card.datasets:
        lines += ["datasets:", *(f"  - {name}" for name in card.datasets)]
    tags = dict.fromkeys(["ptspec", "trl", *(stage.method.replace("_", "-") for stage in chain)])
    return "\n".join(["---", *lines, "tags:", *(f"  - {tag}" for tag in tags), "---"])


def _head(card: Card) -> str:
    way = " → ".join([_name(card.base), *(f"`{stage.name}`" for stage in card.chain)])
    told = [f"# {card.repository.rpartition('/')[2]}"]
    if card.run_record.description:
        told += [clean(card.run_record.description)]
    kind = "A reward model" if card.is_reward_model else "A language model"
    held = "a LoRA adapter" if card.is_adapter else "whole weights"
    text = f"{kind} ({held}): stage `{card.stage}` of the ptspec run `{clean(card.run_record.name)}`: {way}."
    return "\n\n".join([*told, text])


def _name(base: str) -> str:
    return f"[{base}](https://huggingface.co/{base})" if is_hub_id(base) else f"`{base}`"


def _use(card: Card) -> str:
    if card.is_reward_model:
        kind, library = "SequenceClassification", "transformers"
    elif card.is_adapter:
        kind, library = "CausalLM", "peft"
    else:
        kind, library = "CausalLM", "transformers"
    auto = f"AutoPeftModelFor{kind}" if library == "peft" else f"AutoModelFor{kind}"
    lines = [f"from {library} import {auto}", "from transformers import AutoTokenizer", ""]
    lines += [
        f'model = {auto}.from_pretrained("{card.repository}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{card.repository}")',
    ]
    return "\n".join(["## Use", "", "```python", *lines, "```"])


def _training(card: Card) -> str:
    head = ["| stage | method | from | data | rows | steps | learned | config |", f"|{'---|' * 8}"]
    return "\n".join(["## Training", "", *head, *(_stage_row(stage) for stage in card.chain)])


def _stage_row(stage: StageRecord) -> str:
    trained = stage.training
    config = ", ".join(f"{k} {_value(v)}" for k, v in trained.config.items()) if trained else ""
    cells = [
        f"`{stage.name}`",
        stage.method,
        stage.origin,
        clean(stage.data),
        words.count(stage.rows) if stage.rows is not None else words.NOTHING,
        words.count(trained.steps) if trained and not stage.merged else words.NOTHING,
        trained.adapter if trained else words.NOTHING,
        config,
    ]
    return f"| {' | '.join(_in_cell(text) for text in cells)} |"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _evaluation(card: Card) -> str:
    chain = [stage.name for stage in card.chain]
    measured = [one for one in card.run_record.measured if one.name in (BASE, *chain)]
    if not any(one.name == card.stage for one in measured):
        return ""
    compared = {stage.name: stage.comparison for stage in card.chain}
    policies = []
    for one in measured:
        found = compared.get(one.name)
        told = found.of_stage() if found is not None else None
        policies.append(Policy(one.name, one.shown, told, one.preference_over))
    return "\n".join(["## Evaluation", "", *_told(measured), "", *_table(policies)])


def _told(measured: Sequence[Measurement]) -> Iterator[str]:
    last = measured[-1]
    data = f" of {clean(last.data.file)}" if last.data is not None else ""
    rows = words.plural(len(last.rows), "held-out row")
    yield f"On {rows}{data}: the value, and its change from the stage before. {LEGEND}."


def _table(policies: Sequence[Policy]) -> Iterator[str]:
    shown = [one for one in measures([policy.metrics for policy in policies]) if not is_zero(one, policies)]
    yield f"| | {' | '.join(f'`{policy.name}`' for policy in policies)} |"
    yield f"|---|{'---|' * len(policies)}"
    for one in shown:
        cells = [cell(one, policy) for policy in policies]
        if any(cells):
            texts = [
                words.NOTHING
                if found is None
                else _figure(found.value, found.interval, found.change, found.mark)
                for found in cells
            ]
            unit = f" ({one.note})" if one.note else ""
            yield f"| {_in_cell(one.label + unit)} | {' | '.join(map(_in_cell, texts))} |"


def _figure(value: str, interval: str, change: str, mark: str) -> str:
    moved = f"{change} {mark}".strip()
    return f"{' '.join(filter(None, (value, interval)))}{f' · {moved}' if moved else ''}"


def _recipe(card: Card) -> str:
    run_record = card.run_record
    versions = ", ".join(f"{name} {version}" for name, version in run_record.versions.items())
    recipe = json.dumps(run_record.recipe, indent=2, ensure_ascii=False)
    told = [f"Seed {run_record.seed}; {versions}."] if run_record.seed is not None else [f"{versions}."]
    opened = ["<details><summary>The recipe</summary>", "", "```json", recipe, "```", "", "</details>"]
    return "\n".join(["## Recipe", "", *told, "", *opened])
