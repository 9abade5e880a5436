"""Join several configs to one recipe: model and adapter once, a stage each; differences are reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ptspec.methods.types import Yields
from ptspec.recipe.resolve import SEED, VERSION
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.sources import HELD_OUT

_ORDER = ("model", "adapter", "data", "rewards", "stages", "eval", "compute", "tracking")


def recipe_of(drafts: Sequence[Draft]) -> dict[str, Any]:
    """The recipe of `drafts`, each a stage, the second from the first."""
    first = drafts[0]
    merged: dict[str, Any] = {key: value for key, value in first.recipe.items() if key != "stage"}
    merged["stages"] = []
    for draft in drafts:
        stage = {"name": _free(draft, merged), "method": draft.method.name, **draft.recipe.get("stage", {})}
        stage["method"] = draft.method.name
        if draft is not first:
            _goes_on(draft, first, stage, merged)
        merged["stages"].append(_ordered(stage))
    whole = {"version": VERSION, "seed": merged.pop("seed", SEED)}
    return {**whole, **{key: merged[key] for key in _ORDER if merged.get(key)}}


def _free(draft: Draft, merged: dict[str, Any]) -> str:
    name = draft.method.starter.stage
    taken = [stage["name"] for stage in merged["stages"]]
    return name if name not in taken else f"{name}_{len(taken) + 1}"


def _ordered(stage: dict[str, Any]) -> dict[str, Any]:
    order = ("name", "method", "from", "data", "eval_data", "rewards", "adapter", "compute", "config")
    return {key: stage[key] for key in order if key in stage}


def _goes_on(draft: Draft, first: Draft, stage: dict[str, Any], merged: dict[str, Any]) -> None:
    """Bring a later config into `merged`: its data and rewards, what differs in the stage, the rest told."""
    theirs = draft.recipe
    _model(draft, first, stage)
    _adapter(draft, merged, stage)
    renamed = _data(theirs.get("data", {}), merged.setdefault("data", {}), stage["name"])
    for key in ("data", "eval_data"):
        if key in stage:
            stage[key] = renamed.get(stage[key], stage[key])
    rewards = merged.setdefault("rewards", {})
    for name, reward in theirs.get("rewards", {}).items():
        rewards.setdefault(name, reward)
    if "eval" in theirs:
        own = renamed.get(HELD_OUT, HELD_OUT)
        if merged.setdefault("eval", {"data": own})["data"] != own:
            draft.differs.append(
                f'/eval measures every stage on the first file\'s held-out rows, not on "{own}"'
            )
    if "compute" in theirs and theirs["compute"] != merged.get("compute"):
        vllm = theirs["compute"].get("vllm")
        stage |= {"compute": {"vllm": vllm}} if vllm is not None else {}
        rest = {key: value for key, value in theirs["compute"].items() if key != "vllm"}
        if rest and rest != {k: v for k, v in merged.get("compute", {}).items() if k != "vllm"}:
            draft.differs.append(f"compute is that of the first file, not {_shown(rest)}")
    for key, ours in (("seed", merged.get("seed", SEED)), ("tracking", merged.get("tracking"))):
        if key in theirs and theirs[key] != ours:
            draft.differs.append(
                f"{key} is that of the first file, {_shown(ours)}, not {_shown(theirs[key])}"
            )


def _model(draft: Draft, first: Draft, stage: dict[str, Any]) -> None:
    """The policy of the first file goes on; what the later one says of the model is told where it differs."""
    before, model = first.recipe.get("model", {}), dict(draft.recipe.get("model", {}))
    path = model.pop("path", None)
    if draft.method.yields is Yields.REWARD_MODEL:
        if path != before.get("path"):
            stage["from"] = path
        return
    if first.method.yields is Yields.REWARD_MODEL:
        draft.differs.append('the first file makes a reward model: this stage starts from "base"')
    elif path == before.get("path"):
        draft.differs.append(
            f'the file starts from {path} itself; here the stage goes on from "{first.method.starter.stage}" '
            '("from": "base" starts it from the model)'
        )
    else:
        draft.differs.append(
            f"the file starts from {path}; here the stage goes on from what the first one made"
        )
    for key, value in model.items():
        if before.get(key) is None:
            first.recipe["model"][key] = value
            draft.differs.append(
                f"model.{key} {_shown(value)} holds for both stages: it is the second file's"
            )
        elif before[key] != value:
            draft.differs.append(
                f"model.{key} is that of the first file, {_shown(before[key])}, not {_shown(value)}"
            )


def _adapter(draft: Draft, merged: dict[str, Any], stage: dict[str, Any]) -> None:
    before, adapter = merged.get("adapter", {}), draft.recipe.get("adapter", {})
    if before == adapter:
        return
    if not adapter:
        stage["adapter"] = {"use_lora": False, "use_qlora": False}
        draft.differs.append("all weights are trained after an adapter: the stage says use_lora false")
        return
    stage["adapter"] = {key: value for key, value in adapter.items() if before.get(key) != value}
    back = {"use_qlora": False} if before.get("use_qlora") and not adapter.get("use_qlora") else {}
    stage["adapter"] |= back
    draft.differs.append(f"the stage's adapter differs from the first one's: {_shown(stage['adapter'])}")


def _data(theirs: dict[str, Any], data: dict[str, Any], stage: str) -> dict[str, str]:
    """Put the sources into `data`, under a name of the stage's where theirs is taken by another one."""
    renamed = {
        name: f"{name}_{stage}" for name, source in theirs.items() if name in data and data[name] != source
    }
    for name, source in theirs.items():
        for key in ("concat", "mix"):
            if key in source and isinstance(source[key], list):
                source = {**source, key: [renamed.get(one, one) for one in source[key]]}
            elif key in source:
                source = {**source, key: {renamed.get(one, one): s for one, s in source[key].items()}}
        data[renamed.get(name, name)] = source
    return renamed


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
