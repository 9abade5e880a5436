"""Resolve the sections before a recipe's stages: model, data, rewards, judges, compute, tracking.

Each function turns one schema-checked section into plan types; an invalid part is left out and reported to
the findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec.accelerator import visible_gpus
from ptspec.methods.types import Yields
from ptspec.recipe import second_models
from ptspec.recipe.by_column import KEYS, ByColumn
from ptspec.recipe.chat_templates import is_inline, named_template, template_names
from ptspec.recipe.find_files import check_split, find_files
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.names import check_known
from ptspec.recipe.paths import Places, is_address
from ptspec.recipe.plan import ComputeSpec, ModelSpec, TrackingSpec
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.recipe.sources import AnySource, Concat, Mix, OnBadRow, Source, Until

Value = dict[str, Any]


def model(value: str | Value | None, places: Places, findings: Findings) -> ModelSpec | None:
    """Return the `model` section; None if it is missing or names no model. Errors are added to `findings`."""
    given: Value = {"path": value} if isinstance(value, str) else value or {}
    at = "/model" if isinstance(value, str) else "/model/path"
    template, file = chat_template(given.get("chat_template"), places, findings)
    if "path" not in given:
        return None
    found = places.find(given["path"])
    if found is not None:
        _check_model_folder(found, at, findings)
    elif not places.hub_id(given["path"]):
        message = f'no such model folder: "{given["path"]}"'
        findings.error(
            "no-such-model", at, message, places.nearest(given["path"]), places.looked(given["path"])
        )
        return None
    rest = {key: given[key] for key in ("revision", "dtype", "attn_implementation") if key in given}
    return ModelSpec(
        path=str(found or given["path"]),
        local=found is not None,
        chat_template=template,
        template_file=file,
        eos_token=given.get("eos_token"),
        pad_token=given.get("pad_token"),
        additional_special_tokens=tuple(given.get("additional_special_tokens", ())),
        trust_remote_code=given.get("trust_remote_code", False),
        **rest,
    )


def _check_model_folder(folder: Path, at: str, findings: Findings) -> None:
    if not folder.is_dir():
        findings.error("not-a-model", at, "this is a file, not a model's folder", "name the folder it is in")
    elif (folder / "config.json").is_file():
        return
    elif (folder / "adapter_config.json").is_file():
        hint = 'name the base model here, and the adapter as the "from" of a stage'
        findings.error("not-a-model", at, "this folder holds an adapter, not a model", hint)
    else:
        findings.error("not-a-model", at, "this folder holds no model: it has no config.json")


def chat_template(text: str | None, places: Places, findings: Findings) -> tuple[str | None, Path | None]:
    """Return the template's text and file, if any. `text` is a file, else a name, else the template."""
    if text is None:
        return None, None
    at, found = "/model/chat_template", places.find(text)
    if found is not None and found.is_file():
        try:
            return found.read_text("utf-8"), found
        except (OSError, ValueError) as error:
            findings.error("bad-template", at, f'"{text}" cannot be read as UTF-8 text: {error}')
            return None, None
    if (template := named_template(text)) is not None:
        return template, None
    if is_inline(text):
        return text, None
    names = template_names()
    hint = places.nearest(text) or did_you_mean(text, names)
    hint = hint or f"a file, the template's text, or a name: {listed(names, 8)}"
    message = f'no such file, and no chat template of that name: "{text}"'
    findings.error("no-such-file", at, message, hint, places.looked(text))
    return None, None


def data(value: Value, seed: int, places: Places, findings: Findings) -> dict[str, AnySource]:
    """Return the `data` section by source name. Errors are added to `findings`.

    A mix whose weights sum to zero is one.
    """
    found: dict[str, AnySource] = {}
    for name, given in value.items():
        at = join("/data", name)
        made: AnySource | None
        if "mix" in given:
            made = _mix(name, given, at, value, findings)
        elif "concat" in given:
            made = _concat(name, given, at, value, findings)
        else:
            made = _source(name, given, seed, at, places, findings)
        if made is not None:
            found[name] = made
    return found


def _mix(name: str, given: Value, at: str, sources: Value, findings: Findings) -> Mix | None:
    weights = given["mix"]
    for part in weights:
        _check_part(name, part, join(at, "mix", part), sources, findings, key=True)
    total = sum(weights.values())
    shares = {part: weight / total for part, weight in weights.items()}
    return Mix(name, shares, Until(given.get("until", "first")), at) if weights else None


def _concat(name: str, given: Value, at: str, sources: Value, findings: Findings) -> Concat | None:
    parts = given["concat"]
    if isinstance(parts, dict):
        for part in parts:
            _check_part(name, part, join(at, "concat", part), sources, findings, key=True)
        return Concat(name, parts, at) if parts else None
    for index, part in enumerate(parts):
        if part is not None:
            _check_part(name, part, join(at, "concat", index), sources, findings)
    whole = {part: 1.0 for part in parts if part is not None}
    return Concat(name, whole, at) if whole else None


def _check_part(
    name: str, part: str, where: str, sources: Value, findings: Findings, *, key: bool = False
) -> None:
    """Report invalid parts of a combined source."""
    others = [other for other in sources if other != name]
    if part not in others:
        hint = did_you_mean(part, others) or f"sources: {listed(others)}"
        findings.error("unknown-data", where, f'"{part}" is not another source in /data', hint, key=key)
    elif isinstance(sources[part], dict) and {"mix", "concat"} & sources[part].keys():
        kind = "mix" if "mix" in sources[part] else "concat"
        message = f'"{part}" is a {kind} itself'
        findings.error("mix-of-mixes", where, message, "name the sources it is made of", key=key)


def _source(name: str, given: Value, seed: int, at: str, places: Places, findings: Findings) -> Source | None:
    path = given.get("path")
    if path is None:
        return None
    listed_paths = enumerate(path) if isinstance(path, list) else ()
    texts = [(text, join(at, "path", index)) for index, text in listed_paths if isinstance(text, str)]
    texts = [(path, join(at, "path"))] if isinstance(path, str) else texts
    rest = {k: v for k, v in given.items() if k not in ("path", "name", "on_bad_row")}
    rest |= {"seed": seed, "on_bad_row": OnBadRow(given.get("on_bad_row", "stop"))}
    if given.get("streaming"):
        _check_whole_splits(given, at, findings)
    if len(texts) == 1 and not places.is_there(texts[0][0]) and places.hub_id(texts[0][0]):
        if "split" in given and not check_split(given["split"], at, findings):
            return None
        return Source(name, (), hub=texts[0][0], config_name=given.get("name"), at=at, **rest)
    if any(map(is_address, (text for text, _ in texts))):
        return _at_addresses(name, texts, given, rest, at, findings)
    files, splits = find_files(texts, given.get("split"), at, places, findings)
    for hub_key in ("name", "revision"):
        if hub_key in given and files:
            message = f'"{hub_key}" is of hub datasets only; these are files'
            findings.warn("unused-key", join(at, hub_key), message, key=True)
    if "max_bad_rows" in given and given.get("on_bad_row", "stop") == "stop":
        message = '"max_bad_rows" has no effect: the first bad row stops'
        hint = '"on_bad_row": "leave_out"'
        findings.warn("unused-key", join(at, "max_bad_rows"), message, hint, key=True)
    return Source(name, files, splits=splits, at=at, **rest) if files else None


def _at_addresses(
    name: str, texts: Sequence[tuple[str, str]], given: Value, rest: Value, at: str, findings: Findings
) -> Source | None:
    """Return a source whose files are searched when they are read."""
    here = [where for text, where in texts if not is_address(text)]
    for where in here:
        message = "files of this machine and addresses are two sources"
        findings.error("contradiction", where, message, 'join them with "concat" or "mix"')
    for key in ("name", "revision", "split"):
        if key in given:
            message = f'"{key}" has no effect on addresses'
            hint = "name the files of the split" if key == "split" else None
            findings.warn("unused-key", join(at, key), message, hint, key=True)
    rest = {key: value for key, value in rest.items() if key not in ("revision", "split")}
    addresses = tuple(text for text, _ in texts)
    return None if here else Source(name, (), addresses=addresses, at=at, **rest)


def _check_whole_splits(given: Value, at: str, findings: Findings) -> None:
    split = given.get("split")
    if isinstance(split, str) and "[" in split:
        message = f'"{split}" is a part of a split: a stream has whole splits alone'
        hint = 'give the part a file of its own, or leave "streaming" out'
        findings.error("contradiction", join(at, "split"), message, hint)


def rewards(
    value: Value, places: Places, stages: Mapping[str, str], findings: Findings
) -> dict[str, RewardSpec]:
    """Return the `rewards` section. `stages`: stage name -> method, for rewards that are trained models."""
    found = {}
    for name, given in value.items():
        at = join("/rewards", name)
        if "function" in given and "model" in given:
            message = f'reward "{name}" gives both "function" and "model"'
            findings.error("contradiction", join(at, "model"), message, "keep one", key=True)
        for where, part in _chosen(given, at):
            _check_chosen(name, part, where, value, findings)
        function = _function(given.get("function"), join(at, "function"), places, findings)
        scorer = second_models.resolve(
            given.get("model"), Yields.REWARD_MODEL, join(at, "model"), places, stages, findings
        )
        if "revision" in given and scorer is not None and (scorer in stages or Path(scorer).is_absolute()):
            message = '"revision" is of models on the hub only; this one is a folder or a stage'
            findings.warn("unused-key", join(at, "revision"), message, key=True)
        found[name] = replace(reward_spec(name, given, at), function=function, model=scorer)
    return found


def reward_spec(name: str, given: Value, at: str = "/rewards") -> RewardSpec:
    """Return a reward as in the recipe, without resolving its paths."""
    by = _by_column(given)
    apart = ("function", "model", "weight", "$comment", *(KEYS if by is not None else ()))
    options = {key: value for key, value in given.items() if key not in apart}
    function, model, weight = given.get("function"), given.get("model"), float(given.get("weight", 1.0))
    return RewardSpec(name, function, model, weight, options, at, by)


def _by_column(given: Value) -> ByColumn | None:
    """Return a reward's choice of others by a column."""
    if not isinstance(given.get("by"), str):
        return None
    rewards = {value: name for value, name in (given.get("rewards") or {}).items() if isinstance(name, str)}
    return ByColumn(given["by"], rewards, given.get("otherwise"), "otherwise" in given)


def _chosen(given: Value, at: str) -> Iterator[tuple[str, str]]:
    """Yield pointer and name of each reward that a reward chooses from."""
    if "by" not in given:
        return
    for value, name in (given.get("rewards") or {}).items():
        if isinstance(name, str):
            yield join(at, "rewards", value), name
    if isinstance(given.get("otherwise"), str):
        yield join(at, "otherwise"), given["otherwise"]


def _check_chosen(name: str, part: str, at: str, rewards: Value, findings: Findings) -> None:
    """Report chosen rewards that are missing or choose themselves."""
    check_known(part, at, "unknown-reward", list(rewards), findings)
    if "by" in rewards.get(part, {}):
        what = "is this reward itself" if part == name else "chooses by a column itself"
        hint = "name a function or a model; values and rewards of both can stand in one"
        findings.error("wrong-reward", at, f'"{part}" {what}', hint)


def judges(value: Value, places: Places, rewards: Sequence[str], findings: Findings) -> dict[str, JudgeSpec]:
    """Return the `judges` section. `rewards`: names in /rewards, which a judge may use."""
    found = {}
    for name, given in value.items():
        at = join("/judges", name)
        kinds = [key for key in ("function", "reward", "endpoint") if key in given]
        if len(kinds) > 1:
            message = f'judge "{name}" gives {" and ".join(kinds)}'
            findings.error("contradiction", join(at, kinds[1]), message, "keep one", key=True)
        if given.get("reward") is not None:
            check_known(given["reward"], join(at, "reward"), "unknown-reward", rewards, findings)
        options = {k: v for k, v in given.items() if k not in (*kinds, "model")}
        function = _function(given.get("function"), join(at, "function"), places, findings)
        found[name] = JudgeSpec(
            name, function, given.get("reward"), given.get("endpoint"), given.get("model"), options, at
        )
    return found


def _function(text: str | None, at: str, places: Places, findings: Findings) -> str | None:
    """Return a built-in function's name, or the user's as "absolute path:name".

    `ptspec.rewards.check` checks that the file defines the name.
    """
    file, colon, name = (text or "").rpartition(":")
    if not colon:
        return text
    found = places.find(file)
    if found is None or not found.is_file():
        findings.error(
            "no-such-file", at, f'no such file: "{file}"', places.nearest(file), places.looked(file)
        )
        return text
    return f"{found}:{name}"


OF_SEVERAL = ("processes", "nodes", "strategy", "fsdp", "deepspeed", "ray")
"""Keys of `compute` that only apply to several processes."""


def compute(value: Value, own: Value | None = None) -> ComputeSpec:
    """Return the recipe's `compute` with a stage's `own`.

    If accelerate starts the processes, their default number is one per visible GPU.
    """
    return ComputeSpec(**compute_keys(value, own or {}))


def compute_keys(value: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `compute`: the recipe's `value`, overridden by a stage's `own`."""
    given = {**value, **own}
    if "ray" in own and "ray" in value:
        given["ray"] = {**value["ray"], **own["ray"]}
    if own.get("launcher", "ray") != "ray":
        given = {key: v for key, v in given.items() if key in own or key != "ray"}
    if own.get("launcher") == "local":
        # One process: the recipe's keys for several processes apply to its other stages.
        given = {key: v for key, v in given.items() if key in own or key not in OF_SEVERAL}
    if given.get("launcher") == "accelerate" and "processes" not in given:
        given["processes"] = max(1, visible_gpus())
    return given


def tracking(value: Value) -> TrackingSpec:
    """Return the `tracking` section."""
    report_to = value.get("report_to", [])
    names = [report_to] if isinstance(report_to, str) else report_to
    return TrackingSpec(tuple(name for name in names if name and name != "none"), value.get("project"))
