"""The stages of a run as the tree they are: each under the policy that it came from."""

from __future__ import annotations

from dataclasses import dataclass

from ptspec.recipe.plan import BASE
from ptspec.report.html.model import RunStory, StageStory


@dataclass(frozen=True)
class Node:
    """`stage` is None for the base and for a policy from outside the run."""

    name: str
    stage: StageStory | None
    children: tuple[Node, ...]


def tree(story: RunStory) -> tuple[Node, ...]:
    """The base and every other root, with the stages below them in the order of the recipe."""
    names = {stage.name for stage in story.stages}
    roots = dict.fromkeys([BASE, *(_root(stage, names) for stage in story.stages)])
    return tuple(Node(root, None, _below(story, root, names, frozenset())) for root in roots)


def _parent(stage: StageStory) -> str:
    return stage.parent or BASE


def _root(stage: StageStory, names: set[str]) -> str:
    return BASE if _parent(stage) in names else _parent(stage)


def _below(story: RunStory, parent: str, names: set[str], above: frozenset[str]) -> tuple[Node, ...]:
    return tuple(
        Node(stage.name, stage, _below(story, stage.name, names, above | {stage.name}))
        for stage in story.stages
        if _parent(stage) == parent and stage.name not in above
    )
