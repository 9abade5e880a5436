"""The stages of a run as a tree: each below the policy that it started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptspec.recipe.plan import BASE
from ptspec.report.html.model import RunRecord, StageRecord


@dataclass(frozen=True)
class Node:
    """`stage` is None for the base and for a policy from outside the run."""

    name: str
    stage: StageRecord | None


@dataclass(frozen=True)
class Branch:
    """A chain of policies with single children, and the branches after the last."""

    nodes: tuple[Node, ...]
    branches: tuple[Branch, ...]


def tree(run_record: RunRecord) -> tuple[Branch, ...]:
    """Return the base and every other root, with the stages below them in the order of the recipe."""
    names = {stage.name for stage in run_record.stages}
    roots = dict.fromkeys([BASE, *(_root(stage, names) for stage in run_record.stages)])
    below: dict[str, list[StageRecord]] = {}
    for stage in run_record.stages:
        below.setdefault(_parent(stage), []).append(stage)
    return tuple(_branch(Node(root, None), below, set()) for root in roots)


def _parent(stage: StageRecord) -> str:
    return stage.parent or BASE


def _root(stage: StageRecord, names: set[str]) -> str:
    return BASE if _parent(stage) in names else _parent(stage)


def _branch(first: Node, below: Mapping[str, Sequence[StageRecord]], seen: set[str]) -> Branch:
    nodes = [first]
    while len(children := _new(below.get(nodes[-1].name, ()), seen)) == 1:
        nodes.append(children[0])
    return Branch(tuple(nodes), tuple(_branch(child, below, seen) for child in children))


def _new(stages: Sequence[StageRecord], seen: set[str]) -> list[Node]:
    """Return those not yet in the tree: a damaged record may name a stage as its own parent."""
    found = [Node(stage.name, stage) for stage in stages if stage.name not in seen]
    seen.update(node.name for node in found)
    return found
