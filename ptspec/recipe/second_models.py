"""Models besides the trained policy: reward models, judges' reward models, and teachers.

Each is a stage of the recipe, a folder or a hub id; it exists before the stage starts, decides what the stage
learns, and has its own weights or shares the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ptspec.methods import reward_methods, trains_reward_model
from ptspec.methods.types import Yields
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.paths import Places, is_folder
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.reward_parts import rewards_of
from ptspec.recipe.signals import SecondModel

WORDS = {Yields.POLICY: "model", Yields.REWARD_MODEL: "reward model"}


def resolve(
    text: str | None,
    wanted: Yields,
    at: str,
    places: Places,
    stages: Mapping[str, str | None],
    findings: Findings,
) -> str | None:
    """Return what `text` names: one of `stages` (name -> method), a folder (absolute), or a hub id.

    A missing one, or one that yields something else than `wanted`, is reported and returned unchanged.
    """
    if text is None:
        return None
    if text in stages:
        _check_kind(text, wanted, at, stages, findings)
        return text
    found = places.find(text)
    if found is None and not places.hub_id(text):
        hint = places.nearest(text) or did_you_mean(text, stages)
        message = f'no such {WORDS[wanted]}: "{text}"'
        findings.error("no-such-model", at, message, hint, places.looked(text))
    elif found is not None and wanted is Yields.POLICY and not _holds_a_model(found):
        message = f'"{text}" holds neither a model nor an adapter'
        findings.error("not-a-model", at, message, "it has no config.json and no adapter_config.json")
    return str(found or text)


def _check_kind(
    name: str, wanted: Yields, at: str, stages: Mapping[str, str | None], findings: Findings
) -> None:
    """Report a stage `name` that does not yield what is wanted."""
    if trains_reward_model(stages[name]) is (wanted is Yields.REWARD_MODEL):
        return
    if wanted is Yields.REWARD_MODEL:
        message = f'stage "{name}" trains a policy, not a reward model'
        hint = f'name a stage with "method": "{reward_methods()[0]}"'
        findings.error("not-a-reward-model", at, message, hint)
        return
    others = [other for other, method in stages.items() if not trains_reward_model(method)]
    message = f'stage "{name}" trains a reward model, not a policy'
    findings.error("not-a-policy", at, message, f"stages that yield a policy: {listed(others) or 'none'}")


def _holds_a_model(folder: Path) -> bool:
    return any((folder / file).is_file() for file in ("config.json", "adapter_config.json"))


def second_models(plan: Plan) -> Iterator[SecondModel]:
    """Yield the models of all rewards of the recipe, used or not, and the teachers of its stages."""
    yield from (reward.second for reward in plan.rewards.values() if reward.second is not None)
    yield from (stage.teacher for stage in plan.stages if stage.teacher is not None)


def second_models_of(plan: Plan, stage: Stage) -> Iterator[SecondModel]:
    """Yield the models that `stage` learns from: of its rewards, its judge's reward, and its teacher."""
    for name in rewards_of(stage, plan.judges, plan.rewards):
        reward = plan.rewards.get(name)
        if reward is not None and reward.second is not None:
            yield reward.second
    if stage.teacher is not None:
        yield stage.teacher


def folder_of(plan: Plan, path: str) -> Path | None:
    """Return the folder of the second model `path`: of a stage of this run, or itself.

    None for a hub model.
    """
    own = plan.output / path
    if is_folder(own) or plan.stage(path) is not None:
        return own
    return Path(path) if is_folder(Path(path)) else None
