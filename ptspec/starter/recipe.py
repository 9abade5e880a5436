"""`pt init`: a recipe to start from, made for a method, a model and the columns of a data file.

Asks nothing and guesses only what it can see; what it writes validates (if the rows themselves are sound).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec import methods
from ptspec.data.layouts.table import wanted
from ptspec.data.readers.placed import shown
from ptspec.data.tokens.template import tokenizer_files
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods.types import Feedback, Method, Rows, Yields
from ptspec.recipe.paths import is_folder
from ptspec.recipe.plan import ModelSpec
from ptspec.recipe.resolve import VERSION
from ptspec.rewards.builtin import BUILTIN
from ptspec.shipped import folder
from ptspec.starter.first_row import CHATS, FirstRow
from ptspec.starter.held_out import hold_out
from ptspec.starter.place import place, schema_key
from ptspec.starter.rows import look_at
from ptspec.starter.settings import is_toy, settings
from ptspec.store.files import write_json

LEAD = next(one for one in methods.all_of_them() if one.starter.leads)
"""The method that others may follow in one recipe: SFT."""
CHAINED = {
    f"{LEAD.name}_{one.name}": one
    for one in methods.all_of_them()
    if one.yields is Yields.POLICY and not one.starter.leads
}
CHAINS = (*methods.METHODS, *CHAINED)
"""What `--method` takes: a method, or SFT and a method after it."""

SCORED = (Feedback.REWARDS, Feedback.JUDGE_OR_REWARDS)
"""What methods ask for that a reward answers."""

_TEXTS: Mapping[Rows, Sequence[str]] = {
    Rows.PROMPT_COMPLETION: ("prompt", "completion"),
    Rows.PREFERENCE: ("prompt", "chosen", "rejected"),
}
"""Columns that a file with other names of them is likely to have, in this order."""
GOLD = ("answer", "output", "ground_truth", "solution", "final_answer", "correct_answer", "target")
"""Columns that often hold the right answer, the likeliest first."""

_NUMBER = re.compile(r"\s*[-+]?[$€£]?[\d,]*\.?\d+\s*%?\s*|.*####\s*[-+]?[\d,.]+\s*", re.DOTALL)
"""A number alone, or GSM8K's answer, which ends with one."""


@dataclass(frozen=True)
class Starting:
    """A recipe to start from.

    `held_out`: which rows, in words; `is_toy`: it is over the base that ships with the program.
    """

    recipe: dict[str, Any]
    held_out: str
    is_toy: bool

    @property
    def columns(self) -> Mapping[str, str]:
        """Wanted names -> names in the file, of all sources."""
        sources = self.recipe["data"].values()
        return {new: old for source in sources for new, old in source.get("columns", {}).items()}


def starter(
    chain: str | None, model: str | None, data: Path | None, columns: Mapping[str, str] = {}
) -> Starting:
    """The recipe for `chain` (None: what the data is for).

    Without `model` or `data` it goes over those that ship with the program. `columns` are wanted names with
    those of the file. Raises `InputError` where the file has no rows, or not what the method needs.
    """
    given = look_at(data or folder("data") / "train.jsonl", columns)
    row, file = given.first, given.path
    stages = chained(chain or _for(row, file))
    held = hold_out(given, place(file))
    sources, names = _sources(file, row, stages, held.train)
    base = place(folder("data") / "base_model")
    marked = _marks_answers(model or str(folder("data") / "base_model"))
    rewards = _rewards(row) if any(one.feedback in SCORED for one in stages) else {}
    toy = is_toy(model)
    if held.heldout is not None:
        renamed = {new: old for one in stages for new, old in (row.columns(one.rows) or {}).items()}
        sources["heldout"] = {**held.heldout, **({"columns": renamed} if renamed else {})}
    made = {
        **schema_key(),
        "version": VERSION,
        "seed": 42,
        "model": {"path": model or base},
        "adapter": {
            "use_lora": True,
            "use_qlora": False,
            "r": 16,
            "lora_alpha": 32,
            "target_modules": "all-linear",
        },
        "data": sources,
        **({"rewards": rewards} if rewards else {}),
        "stages": [
            _stage(one, names[one.name], rewards, model or base)
            | {"config": _config(one, row, marked, settings(one, held.rows, is_toy=toy))}
            for one in stages
        ],
        **({"eval": {"data": "heldout", "max_new_tokens": 64, "samples": 8}} if held.heldout else {}),
    }
    return Starting(made, held.note, toy)


def write(recipe: Mapping[str, Any], target: Path) -> None:
    """Writes `recipe` to `target`. Raises `InputError` where something is there already."""
    if target.exists() or target.is_symlink():
        hint = "choose another name: -o FILE"
        raise InputError(Diagnostic("file-exists", "is there already", Location(str(target)), hint=hint))
    try:
        write_json(target, recipe)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("not-writable", message, Location(str(target)))) from None


def _for(row: FirstRow, file: Path) -> str:
    """What the data is for: preference pairs for DPO, after SFT where it can be; labelled answers for KTO."""
    fits = [one for one in methods.all_of_them() if one.starter.choice is not None and row.serves(one)]
    if not fits:
        raise InputError(_unfit(LEAD, row, file))
    first = min(fits, key=lambda one: one.starter.choice or 0)
    return f"{LEAD.name}_{first.name}" if first.starter.follows and LEAD in fits else first.name


def chained(chain: str) -> list[Method]:
    """The methods of `chain`, one of `CHAINS`, in their order."""
    if chain in methods.METHODS:
        return [methods.get(chain)]
    return [LEAD, CHAINED[chain]]


def _sources(
    file: Path, row: FirstRow, stages: Sequence[Method], rows: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the sources over `rows` ("path", "split"), and the name of each method's source.

    One for both if no column is renamed differently.
    """
    sources: dict[str, Any] = {}
    names: dict[str, str] = {}
    for method in stages:
        renamed = row.columns(method.rows)
        if renamed is None:
            raise InputError(_unfit(method, row, file))
        source: dict[str, Any] = {**rows, **({"columns": dict(renamed)} if renamed else {})}
        if row.is_labelled(method.rows):  # answers marked as bad are not to be learned
            source |= {"on_bad_row": "leave_out", "max_bad_rows": 0.9}
        same = next((name for name, other in sources.items() if other == source), None)
        names[method.name] = same or ("train" if not sources else f"train_{method.name}")
        sources.setdefault(names[method.name], source)
    return sources, names


def _unfit(method: Method, row: FirstRow, file: Path) -> Diagnostic:
    names = ", ".join(row.values) or "none"
    message = f"{method.name} needs the columns {wanted(method.rows)}; this file has {names}"
    hint = f"pt methods {method.name} shows an example row"
    if method.rows in _TEXTS and len(row.texts) >= len(_TEXTS[method.rows]):
        options = zip(_TEXTS[method.rows], row.texts, strict=False)
        named = " ".join(f"--{wanted} {shlex.quote(name)}" for wanted, name in options)
        hint = f"say which is which: pt init {shlex.quote(shown(file))} {named}"
    return Diagnostic("missing-column", message, Location(shown(file)), hint=hint)


def _rewards(row: FirstRow) -> dict[str, Any]:
    """A reward that compares with the right answer, where the row has one that is a text or a number."""
    for column in GOLD:
        value = row.values.get(column)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            function = "contains_answer" if column == "answer" else "exact_match"
            function = "numeric_answer" if _NUMBER.fullmatch(str(value)) else function
            option = {} if column in BUILTIN[function].columns[:1] else {"column": column}
            return {"correct": {"function": function, **option}}
    comment = "in place of a reward of your own: my_rewards.py:name, or a reward model"
    return {"short": {"$comment": comment, "function": "length", "max": 100}}


def _stage(method: Method, source: str, rewards: Mapping[str, Any], model: str) -> dict[str, Any]:
    asks: dict[str, Any] = {"rewards": list(rewards)} if method.feedback in SCORED else {}
    if method.feedback is Feedback.TEACHER:
        comment = "in place of a better model with the same tokenizer: a folder, a hub id, an earlier stage"
        asks = {"teacher": {"$comment": comment, "model": model}}
    return {"name": method.starter.stage, "method": method.name, "data": source, **asks}


def _config(method: Method, row: FirstRow, marked: bool, config: Mapping[str, Any]) -> dict[str, Any]:
    if method.rows is Rows.PROMPT_COMPLETION and row.layout(method.rows) in CHATS and marked:
        return {**config, "assistant_only_loss": True}
    return dict(config)


def _marks_answers(model: str) -> bool:
    """Whether the chat template of a local model says which tokens are the assistant's."""
    found = Path(model)
    tokenizer = tokenizer_files(ModelSpec(str(found.absolute()), local=True)) if is_folder(found) else None
    return tokenizer is not None and tokenizer.has_generation_markers
