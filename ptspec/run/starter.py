"""`pt init`: a recipe to start from, made for a method, a model and the columns of a data file.

Asks nothing and guesses only what it can see; what it writes validates (if the rows themselves are sound).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec import methods
from ptspec.data.layouts.table import LAYOUTS, layout_for, wanted
from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.placed import PlacedRow, Unreadable, shown, unreadable
from ptspec.data.readers.scan import READERS, scan
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods.types import Feedback, Method, Rows
from ptspec.recipe.places import ROWS_STAND_IN
from ptspec.recipe.plan import Source
from ptspec.recipe.resolve import VERSION
from ptspec.run.artifact import whole_file
from ptspec.shipped import folder

ALIASES: Mapping[str, Sequence[str]] = {
    "prompt": ("question", "query", "input", "user", "problem", "instruction"),
    "completion": ("response", "answer", "output", "target", "reply", "solution", "answers"),
    "chosen": ("preferred", "accepted", "response_chosen", "chosen_response", "better"),
    "rejected": ("dispreferred", "response_rejected", "rejected_response", "worse"),
    "label": ("liked", "is_good", "thumbs_up", "desirable"),
    "messages": ("conversation", "dialogue", "dialog", "chat", "turns"),
    "text": ("content", "document"),
}
"""Names under which data often has the columns that a method wants."""

CONFIG: Mapping[str, Mapping[str, Any]] = {
    "sft": {"learning_rate": 2e-4, "num_train_epochs": 2, "per_device_train_batch_size": 8},
    "dpo": {"learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
    "orpo": {"learning_rate": 5e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
    "kto": {"learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
    "grpo": {"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_generations": 8, "max_steps": 100},
    "nash_md": {
        "learning_rate": 2e-5,
        "per_device_train_batch_size": 8,
        "num_generations": 8,
        "max_steps": 100,
    },
    "reward": {"learning_rate": 1e-4, "num_train_epochs": 1, "per_device_train_batch_size": 8},
}
"""Values to start from, for LoRA: about ten times what suits full fine-tuning."""

AFTER_SFT = tuple(f"sft_{name}" for name in methods.METHODS if name not in ("sft", "reward"))
CHAINS = (*methods.METHODS, *AFTER_SFT)
"""What `--method` takes: a method, or SFT and a method after it."""

HELD_OUT = ("eval", "test", "validation", "valid", "heldout", "dev")


@dataclass(frozen=True)
class Columns:
    """What the first row of a file offers; `rename` is the source's "columns" for a kind of rows."""

    names: frozenset[str]

    def rename(self, rows: Rows) -> Mapping[str, str] | None:
        """Wanted name -> name in the file, of columns called otherwise; None where these will not do."""
        if layout_for(rows, self.names):
            return {}
        for shape in LAYOUTS[rows]:
            found: dict[str, str] = {}
            for column in shape.columns:
                taken = {*shape.columns, *found.values()}
                names = (name for name in ALIASES.get(column, ()) if name in self.names and name not in taken)
                if column not in self.names and (name := next(names, None)):
                    found[column] = name
            if all(column in self.names or column in found for column in shape.columns):
                return found
        return None


def starter(chain: str | None, model: str | None, data: Path | None) -> dict[str, Any]:
    """The recipe for `chain` (None: what the data is for).

    Without `model` or `data` it goes over those that ship with the program. Raises `InputError` where the
    file has no rows, or not what the method needs.
    """
    file = data or folder("data") / "train.jsonl"
    columns = look_at(file)
    stages = _methods(chain or _for(columns, file))
    sources, names = _sources(file, columns, stages)
    rewards = _rewards(columns) if any(one.feedback is not Feedback.NONE for one in stages) else {}
    held_out = _held_out(file, columns, stages[0])
    if held_out is not None:
        sources["heldout"] = {"path": _place(held_out)}
    return {
        "$schema": _place(folder("schemas") / "recipe.schema.json"),
        "version": VERSION,
        "seed": 42,
        "model": {"path": model or _place(folder("data") / "base_model")},
        "adapter": {
            "use_lora": True,
            "use_qlora": False,
            "r": 16,
            "lora_alpha": 32,
            "target_modules": "all-linear",
        },
        "data": sources,
        **({"rewards": rewards} if rewards else {}),
        "stages": [_stage(one, names[one.name], rewards) for one in stages],
        **({"eval": {"data": "heldout", "max_new_tokens": 64, "samples": 8}} if held_out else {}),
    }


def write(recipe: Mapping[str, Any], target: Path) -> None:
    """Writes `recipe` to `target`. Raises `InputError` where something is there already."""
    if target.exists() or target.is_symlink():
        hint = "choose another name: -o FILE"
        raise InputError(Diagnostic("file-exists", "is there already", Location(str(target)), hint=hint))
    try:
        with whole_file(target) as file:
            json.dump(recipe, file, indent=2, ensure_ascii=False)
            file.write("\n")
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("not-writable", message, Location(str(target)))) from None


def look_at(file: Path) -> Columns:
    """The columns of the first row of `file`. Raises `InputError` where it has none."""
    where = Location(shown(file))
    if not file.is_file():
        raise InputError(Diagnostic("missing-file", f"there is no file {file}", where))
    if kind_of(file) not in READERS:
        hint = f"{ROWS_STAND_IN}, optionally with .gz or .zst"
        raise InputError(Diagnostic("unsupported-format", "is in no format known here", where, hint=hint))
    first = next(scan(Source("data", (file.absolute(),))), None)
    if isinstance(first, Unreadable):
        raise InputError(unreadable(first))
    if not isinstance(first, PlacedRow):
        raise InputError(Diagnostic("no-rows", "has no rows", where))
    return Columns(frozenset(first.values))


def _for(columns: Columns, file: Path) -> str:
    """What data with these columns is good for; preference pairs are for DPO, after SFT where it can be."""
    fits = [name for name in methods.METHODS if columns.rename(methods.get(name).rows) is not None]
    if "dpo" in fits:
        return "sft_dpo" if "sft" in fits else "dpo"
    for name in ("kto", "sft", "grpo"):
        if name in fits:
            return name
    raise InputError(_unfit(methods.get("sft"), columns, file))


def _methods(chain: str) -> list[Method]:
    if chain in methods.METHODS:
        return [methods.get(chain)]
    return [methods.get("sft"), methods.get(chain.removeprefix("sft_"))]


def _sources(file: Path, columns: Columns, stages: Sequence[Method]) -> tuple[dict[str, Any], dict[str, str]]:
    """The sources, and the name of the one that each method takes: one for both where no column is renamed
    differently."""
    sources: dict[str, Any] = {}
    names: dict[str, str] = {}
    for method in stages:
        renamed = columns.rename(method.rows)
        if renamed is None:
            raise InputError(_unfit(method, columns, file))
        source = {"path": _place(file), **({"columns": dict(renamed)} if renamed else {})}
        same = next((name for name, other in sources.items() if other == source), None)
        names[method.name] = same or ("train" if not sources else f"train_{method.name}")
        sources.setdefault(names[method.name], source)
    return sources, names


def _unfit(method: Method, columns: Columns, file: Path) -> Diagnostic:
    names = ", ".join(sorted(columns.names)) or "none"
    message = f"{method.name} needs the columns {wanted(method.rows)}; this file has {names}"
    hint = f"pt methods {method.name} shows an example row"
    return Diagnostic("missing-column", message, Location(shown(file)), hint=hint)


def _rewards(columns: Columns) -> dict[str, Any]:
    if "answer" in columns.names:
        return {"correct": {"function": "contains_answer"}}
    if "output" in columns.names:
        return {"correct": {"function": "exact_match"}}
    comment = "in place of a reward of your own: my_rewards.py:name, or a reward model"
    return {"short": {"$comment": comment, "function": "length", "max": 100}}


def _stage(method: Method, source: str, rewards: Mapping[str, Any]) -> dict[str, Any]:
    asks = {} if method.feedback is Feedback.NONE else {"rewards": list(rewards)}
    name = "reward_model" if method.name == "reward" else method.name
    return {"name": name, "method": method.name, "data": source, **asks, "config": dict(CONFIG[method.name])}


def _held_out(file: Path, columns: Columns, method: Method) -> Path | None:
    """A file beside `file` that is named like held-out data and has its columns."""
    for name in HELD_OUT:
        beside = file.with_name(name + "".join(file.suffixes))
        try:
            if beside != file and beside.is_file() and look_at(beside).names == columns.names:
                return beside if not columns.rename(method.rows) else None
        except InputError:
            continue
    return None


def _place(path: Path) -> str:
    """`path` as the recipe should name it: relative to the working directory where it lies below that, else
    absolute."""
    absolute, working = Path(os.path.normpath(path.absolute())), Path.cwd()
    return absolute.relative_to(working).as_posix() if absolute.is_relative_to(working) else str(absolute)
