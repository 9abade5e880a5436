"""Check a stage's config for values that TRL refuses after loading the model, or ignores silently.

From the trainers and configs of TRL 1.16 and transformers 5.23: what fails there is an error here, at its
line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.methods.settings import Clash
from ptspec.recipe.batch_split import PASSES, PER_GENERATION, ROWS
from ptspec.recipe.effective_config import shared_fields
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import ComputeSpec, Stage
from ptspec.recipe.sources import AnySource, Mix, Until, is_streamed
from ptspec.recipe.stage_evaluation import FOLLOWING
from ptspec.shipped import schema


class _Config:
    """A stage's config with the defaults of method and TRL, and the pointers of its values."""

    def __init__(self, stage: Stage, findings: Findings) -> None:
        self.stage, self.findings = stage, findings
        self.given, self.at = stage.config, join(stage.at, "config")
        self._fields = schema(f"trl/{stage.method.name}.schema.json")["properties"]

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name, self.default(name))

    def default(self, name: str) -> Any:
        return self.stage.method.defaults.get(name, self._fields.get(name, {}).get("default"))

    def place(self, *names: str) -> str:
        """Return the pointer of the first given field of `names`, else the stage's."""
        return next((join(self.at, name) for name in names if name in self.given), self.stage.at)

    def contradiction(self, message: str, hint: str, *names: str) -> None:
        self.findings.error("contradiction", self.place(*names), message, hint)

    def losses(self) -> list[str]:
        loss = self["loss_type"]
        return [loss] if isinstance(loss, str) else list(loss or ())

    def values(self, name: str) -> list[Any]:
        """Return a field's values: of a list, or its single one."""
        value = self[name]
        return list(value) if isinstance(value, list | tuple) else [value]


def stage_rules(
    stage: Stage, data: Mapping[str, AnySource], compute: ComputeSpec | None, findings: Findings
) -> None:
    """Report the errors in the config of one stage."""
    config = _Config(stage, findings)
    _training(config)
    if stage.method.sampling is not None and stage.method.sampling.group is not None:
        _groups(config, stage.method.sampling.group, compute)
    _loss_weights(config)
    for clash in stage.method.clashes:
        _clash(config, clash)
    _without_effect(config)
    _precision(config, compute)
    _reference(config)
    if is_streamed(data, stage.data):
        _streamed(config)
        mix = data[stage.data]
        if isinstance(mix, Mix) and mix.until is Until.ALL:
            message = '"until" has no effect: each part of a streamed mix begins again when it is used up'
            findings.warn("unused-key", join(mix.at, "until"), message, "leave it out", key=True)


def _streamed(config: _Config) -> None:
    """Report settings that need all rows at once, over streamed data."""
    stage, findings = config.stage, config.findings
    if config["max_steps"] <= 0:
        message = f'stage "{stage.name}" needs "max_steps": its data is streamed, its length is not known'
        where = config.at if stage.config else stage.at
        findings.error("missing-key", where, message, '"config": {"max_steps": …}')
    if (why := stage.method.takes_no_stream) is not None:
        message = f'stage "{stage.name}": {stage.method.name} takes no streamed data: {why}'
        findings.error(
            "contradiction", join(stage.at, "data"), message, 'leave "streaming" out of the source'
        )
    if config["precompute_ref_log_probs"]:
        message = '"precompute_ref_log_probs" goes over all rows before training, and the data is streamed'
        config.contradiction(message, "leave it out", "precompute_ref_log_probs")
    if config["dataloader_num_workers"]:
        message = (
            '"dataloader_num_workers": a stream is read by the process that trains, which keeps the place'
        )
        config.contradiction(message, "leave it out", "dataloader_num_workers")
    if config.given.get("shuffle_dataset") and not stage.method.online:
        message = '"shuffle_dataset" shuffles streamed rows in a buffer, which a resumed run would not have'
        config.contradiction(message, '"shuffle": true in the source shuffles a stream', "shuffle_dataset")
    for name, what in (
        ("train_sampling_strategy", "orders all rows"),
        ("dataset_num_proc", "shares out all rows"),
    ):
        if config.given.get(name) not in (None, config.default(name)):
            message = f'"{name}" has no effect: it {what}, and the data is streamed'
            findings.warn("unused-key", join(config.at, name), message, "leave it out", key=True)


def _training(config: _Config) -> None:
    """Report what transformers' TrainingArguments refuse or override."""
    if config["max_steps"] > 0 and "num_train_epochs" in config.given:
        message = '"num_train_epochs" has no effect: "max_steps" overrides it'
        place = join(config.at, "num_train_epochs")
        config.findings.warn("contradiction", place, message, "keep one", key=True)
    if config.given.get("bf16") and config.given.get("fp16"):
        config.contradiction('"bf16" and "fp16" cannot both be true', "keep one", "fp16")
    halves = config.given.get("auto_find_batch_size")
    if halves and config.stage.method.compares_rows(config["loss_type"]):
        message = (
            '"auto_find_batch_size" would change the loss, by which a row learns from the others of its pass'
        )
        hint = "leave it out; after memory ran out, lower per_device_train_batch_size"
        config.contradiction(message, hint, "auto_find_batch_size")
    if config["lr_scheduler_type"] in FOLLOWING and config.stage.eval_data is None:
        message = (
            f'"{config["lr_scheduler_type"]}" follows an evaluation inside the training, and there is none'
        )
        hint = '"cosine" or "linear" need none; "eval_data" names rows for one'
        config.contradiction(message, hint, "lr_scheduler_type")
    for name in ("logging_steps", "save_steps"):
        value = config.given.get(name)
        if isinstance(value, float) and value > 1 and not value.is_integer():
            message = f'"{name}" is {value}: above 1 it counts steps, below it is a share of them'
            config.contradiction(message, f"write {round(value)}", name)
    workers = config["dataloader_num_workers"]
    for name in ("dataloader_prefetch_factor", "dataloader_persistent_workers"):
        if config.given.get(name) and not workers:
            message = f'"{name}" is of data loader workers, and "dataloader_num_workers" is 0'
            config.contradiction(message, "leave it out, or set dataloader_num_workers", name)


def _groups(config: _Config, field: str, compute: ComputeSpec | None) -> None:
    """Report generation batches without whole groups of `field` completions per prompt."""
    processes = compute.world if compute else 1
    shared = shared_fields(config.stage, compute) if compute else {}
    each = shared.get(ROWS, config[ROWS])
    rows, group = each * processes, config[field]
    given = config.given.get("generation_batch_size")
    if group is None:
        place, hint = join(config.at, field), "leave the key out for the default"
        config.findings.error("wrong-type", place, f'"{field}" is null, not an integer', hint)
        return
    if config.given.get("auto_find_batch_size"):
        message = f'"auto_find_batch_size" would break up the groups of {field} completions of a prompt'
        config.contradiction(
            message, "leave it out; lower per_device_train_batch_size instead", "auto_find_batch_size"
        )
    if given and config.given.get("steps_per_generation"):
        message = '"generation_batch_size" and "steps_per_generation" say the same thing twice'
        config.contradiction(message, "keep one", "steps_per_generation")
        return
    if given and given % rows:
        message = f"a generation batch of {given} rows cannot be split into steps of {rows} rows"
        config.contradiction(message, f"make it a multiple of {rows}", "generation_batch_size")
        return
    passes = shared.get(PASSES, config[PASSES])
    steps = shared.get(PER_GENERATION, config[PER_GENERATION]) or passes
    batch = given or rows * steps
    if batch % group:
        message = f"a generation batch of {batch} rows cannot be split into groups of {field} {group}"
        over = f" × {processes} processes" if processes > 1 else ""
        by = "steps_per_generation" if config["steps_per_generation"] else "gradient_accumulation_steps"
        what = "it" if given else f"per_device_train_batch_size {each} × {by} {steps}{over}"
        config.contradiction(message, f"make {what} a multiple of {group}", field, *_GROUP_FIELDS)


_GROUP_FIELDS = (
    "generation_batch_size",
    "per_device_train_batch_size",
    "steps_per_generation",
    "gradient_accumulation_steps",
)


def _loss_weights(config: _Config) -> None:
    losses, weights = config.losses(), config.given.get("loss_weights")
    if isinstance(weights, list) and len(weights) != len(losses):
        message = f"{len(weights)} loss_weights for {len(losses)} loss_type{'s' if len(losses) != 1 else ''}"
        config.contradiction(message, "one weight a loss", "loss_weights")


def _clash(config: _Config, clash: Clash) -> None:
    """Report values that the method excludes together."""
    met = {name: condition.met_by(config.values(name)) for name, condition in clash.when.items()}
    if not all(met.values()):
        return
    message = clash.message.format_map({name: values[0] for name, values in met.items()})
    if not clash.is_ignored:
        config.contradiction(message, clash.hint, *clash.when)
        return
    where = config.place(*clash.when)
    config.findings.warn("unused-key", where, message, clash.hint, key=True)


def _reference(config: _Config) -> None:
    """Report `sync_ref_model` and similar for a reference that is not a separate model."""
    if not config["sync_ref_model"]:
        return
    if config.stage.adapter.use_lora:
        message = '"sync_ref_model" needs a reference model of its own, and with LoRA there is none'
        config.contradiction(message, 'leave it out, or set "use_lora": false', "sync_ref_model")
    elif config["precompute_ref_log_probs"]:
        message = '"sync_ref_model" moves the reference that "precompute_ref_log_probs" computes once'
        config.contradiction(message, "keep one", "sync_ref_model")
    elif not config.stage.has_reference:
        message = (
            f'"sync_ref_model" moves a reference, and with "beta": 0 {config.stage.method.name} has none'
        )
        config.contradiction(message, 'give a "beta" above 0', "sync_ref_model")


def _without_effect(config: _Config) -> None:
    for name, (other, values) in config.stage.method.needs.items():
        if name not in config.given or config[name] == config.default(name):
            continue
        has = config.losses() if other == "loss_type" else [config[other]]
        if not set(has) & set(values):
            message = f'"{name}" has no effect with "{other}": {_shown(has)}'
            hint = f'it goes with "{other}": {_shown(values)}'
            config.findings.warn("unused-key", join(config.at, name), message, hint, key=True)


def _shown(values: Sequence[object]) -> str:
    return listed(json.dumps(value) for value in values)


def _precision(config: _Config, compute: ComputeSpec | None) -> None:
    precision = compute.precision if compute else None
    for key in ("bf16", "fp16"):
        given = config.given.get(key)
        if precision and given is not None and given != (precision == key):
            message = f'"{key}" is {str(given).lower()}, but /compute/precision is "{precision}"'
            config.contradiction(message, "keep one", key)
