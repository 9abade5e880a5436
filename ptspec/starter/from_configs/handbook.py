"""Recipes of alignment-handbook and open-r1: TRL's fields with `dataset_mixture` or `dataset_mixer`."""

from __future__ import annotations

from typing import Any

from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.sources import HELD_OUT, add_sources, hold_out, measure_on_held_out
from ptspec.starter.from_configs.trl import (
    carry_common,
    carry_dataset_name,
    carry_model,
    carry_source_settings,
    carry_test_split,
)
from ptspec.starter.from_configs.values import names

NAME = "alignment-handbook"
MARKS = ("dataset_mixture", "dataset_mixer", "dataset_splits", "chat_template", "dataset_prompt_column")
"""Keys that TRL's command line does not have."""


def knows(values: dict[str, Any]) -> bool:
    """Whether a file with these keys is one of alignment-handbook's or open-r1's."""
    return "model_name_or_path" in values and any(key in values for key in MARKS)


def fill(draft: Draft) -> None:
    """Carry the model, the adapter and the data; the rest has TRL's names."""
    carry_model(draft)
    source = carry_dataset_name(draft)
    if source is not None:
        carry_source_settings(draft, [source])
        add_sources(draft, [source])
        for key in ("dataset_mixture", "dataset_mixer"):
            draft.leave(key, draft.take(key), "dataset_name is what is read")
    elif mixture := draft.take("dataset_mixture"):
        _mixture(draft, mixture)
    elif mixer := draft.take("dataset_mixer"):
        _mixer(draft, mixer)
    carry_test_split(draft, source)
    carry_common(draft)


def _mixture(draft: Draft, mixture: dict[str, Any]) -> None:
    """`dataset_mixture`: a weight is the fraction of a set that is read; the sets follow each other."""
    given = dict(mixture)
    sources, shares, columns = [], [], []
    for entry in given.pop("datasets", []):
        rest = dict(entry)
        source = {"path": rest.pop("id")}
        if (config := rest.pop("config", None)) not in (None, "default"):
            source["name"] = config
        if split := rest.pop("split", None):
            source["split"] = split
        columns += [name for name in rest.pop("columns", None) or [] if name not in columns]
        shares.append(float(rest.pop("weight", None) or 1.0))
        for key, value in rest.items():
            draft.leave(f"dataset_mixture.{key}", value, "a source has nothing like it")
        sources.append(source)
    draft.say("dataset_mixture", "/data/train")
    carry_source_settings(draft, sources)
    add_sources(draft, sources, shares)
    if columns:
        why = "every column that the method knows is read, the others are not dropped first"
        draft.leave("dataset_mixture.columns", columns, why)
    size, seed = given.pop("test_split_size", 0), given.pop("seed", None)
    if size:
        hold_out(draft, "dataset_mixture.test_split_size", size)
    if seed is not None:
        draft.leave("dataset_mixture.seed", seed, "one seed for the whole run: /seed")
    for key, value in given.items():
        draft.leave(f"dataset_mixture.{key}", value, "a source has nothing like it")


def _mixer(draft: Draft, mixer: dict[str, Any]) -> None:
    """`dataset_mixer` of the first recipes: {id: fraction} with `dataset_splits`, train_… and test_…."""
    splits = names(draft.take("dataset_splits", draft.take("dataset_mixer_list_splits", ["train"])))
    train = [split for split in splits if "train" in split] or splits[:1]
    test = [split for split in splits if split not in train]
    sources = [{"path": path, "split": split} for path in mixer for split in train]
    add_sources(draft, sources, [float(share) for share in mixer.values() for _ in train])
    draft.say("dataset_mixer", "/data/train")
    draft.say("dataset_splits", "/data/train/split")
    configs = draft.take("dataset_configs")
    draft.leave("dataset_configs", configs, 'goes to the sources: "name"')
    if test:
        path = next(iter(mixer))
        draft.part("data")[HELD_OUT] = {"path": path, "split": test[0]}
        measure_on_held_out(draft)
        if len(mixer) > 1 or len(test) > 1:
            draft.differs.append(f'held-out rows are "{test[0]}" of {path} alone')
