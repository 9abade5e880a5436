"""Placement of a job's workers: actors that Ray schedules together, each with its resources."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ptspec.diagnostics import Diagnostic, Interrupted, StageError
from ptspec.events import Listener, Warned
from ptspec.launch.child import POLL, kept, pointer_of
from ptspec.launch.job import StageJob
from ptspec.launch.ray_actor import Seen, Worker
from ptspec.launch.ray_cluster import Cluster, in_words
from ptspec.training.stop_request import StopRequest

SECONDS_BEFORE_TOLD = 5.0
"""Seconds of waiting for busy resources before it is reported."""
SECONDS_FOR_NODES = 300.0
"""Seconds of waiting for a lost node to return, if the remaining ones are too small."""
SECONDS_TO_END = 10.0
SECONDS_TO_SEE = 30.0
"""Seconds until Ray notices a lost node: five missed health checks, 3 s apart."""


@dataclass(frozen=True)
class Placed:
    """An actor on its node; `index` is its rank, `local` its rank on the node."""

    actor: Any
    index: int
    local: int
    seen: Seen

    @property
    def where(self) -> str:
        """The node in words, with its address and id."""
        return f"node {self.seen.name} ({self.seen.address}, {self.seen.node[:8]})"


class Lost(Exception):
    """A worker that ended without a message: which, and why. Its work may be repeated."""

    def __init__(self, which: str, why: str) -> None:
        super().__init__(f"{which}: {why}")
        self.which, self.why = which, why


@contextlib.contextmanager
def placed(
    job: StageJob,
    cluster: Cluster,
    stop_request: StopRequest,
    listener: Listener,
    see: Callable[[Any], Any],
) -> Iterator[Sequence[Placed]]:
    """Place the actors of `job`, in the order of ranks, within the context.

    `see` asks one for its node. Those of a node are consecutive. Raises `Lost` if one dies at once,
    `StageError` if there is no room and none becomes free, `Interrupted`.
    """
    bundle = dict(cluster.bundle(job.compute))
    strategy = "PACK" if job.compute.nodes == 1 else "SPREAD"
    group = placement_group([bundle] * job.compute.world, strategy=strategy)
    actors: list[Any] = []
    try:
        _wait(group, job, cluster, stop_request, listener)
        actors += [_actor(group, index, bundle) for index in range(job.compute.world)]
        asked = [see(actor) for actor in actors]
        yield _in_order(actors, [_answer(one, index, job) for index, one in enumerate(asked)])
    finally:
        _end(actors)
        remove_placement_group(group)


def _wait(group: Any, job: StageJob, cluster: Cluster, stop_request: StopRequest, listener: Listener) -> None:
    begun, is_told, lacking_since = time.monotonic(), False, None
    each = f"{job.compute.world} × ({in_words(cluster.bundle(job.compute))})"
    while not group.wait(POLL):
        if stop_request.reason is not None:
            message = f"{stop_request.reason}: {job.stage} was not started; the same command starts it"
            raise Interrupted(Diagnostic("interrupted", message, pointer=pointer_of(job)))
        now = time.monotonic()
        if now - begun < SECONDS_BEFORE_TOLD:
            continue
        why = cluster.lacks(job.compute)
        if why is not None and lacking_since is None:
            lacking_since = now
            text = f"{why}; waits {SECONDS_FOR_NODES:.0f} s for a node to come back"
            listener(Warned(text, job.stage))
        elif why is not None and lacking_since is not None and now - lacking_since > SECONDS_FOR_NODES:
            raise StageError(Diagnostic("no-room", why, pointer=pointer_of(job), notes=(kept(job),)))
        elif why is None:
            lacking_since = None
            if not is_told:
                listener(Warned(f"waits for {each} of the cluster, which others use", job.stage))
                is_told = True


def _actor(group: Any, index: int, bundle: dict[str, float]) -> Any:
    own = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    return (
        ray.remote(Worker)
        .options(
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            memory=bundle.get("memory"),
            resources=own,
            max_concurrency=8,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
        )
        .remote()
    )


def _answer(asked: Any, index: int, job: StageJob) -> Seen:
    try:
        return ray.get(asked)  # type: ignore[no-any-return]  # of a remote method
    except RayActorError as error:
        if "No module named" in str(error):
            module = str(error).rpartition("No module named")[2].strip().partition("\n")[0]
            message = f"a node of the cluster has no module {module}"
            hint = "install what this environment has on every node, or name it in runtime_env of the cluster"
            raise StageError(
                Diagnostic("no-worker", message, pointer=pointer_of(job), hint=hint, notes=(kept(job),))
            ) from error
        raise Lost(f"process {index} of {job.compute.world}", why_lost(error, None)) from error


def why_lost(error: RayActorError, node: str | None) -> str:
    """Return why an actor is gone: with its `node` (by its id, if known), or alone.

    The end of the actor is noticed before that of its node.
    """
    for _ in range(int(SECONDS_TO_SEE / POLL)):
        alive = {one["NodeID"] for one in ray.nodes() if one["Alive"]}
        if "node has died" in str(error) or (node is not None and node not in alive):
            return "its node is gone"
        if node is None:
            break
        time.sleep(POLL)
    return "its Ray process died"


def _in_order(actors: Sequence[Any], seen: Sequence[Seen]) -> list[Placed]:
    nodes = list(dict.fromkeys(one.node for one in seen))
    order = sorted(range(len(actors)), key=lambda number: (nodes.index(seen[number].node), number))
    found: list[Placed] = []
    for number in order:
        local = sum(one.seen.node == seen[number].node for one in found)
        found.append(Placed(actors[number], len(found), local, seen[number]))
    return found


def _end(actors: Sequence[Any]) -> None:
    """End the workers, then their actors: none writes to the stage's folder afterwards."""
    asked = [actor.end.remote() for actor in actors]
    if asked:
        ray.wait(asked, num_returns=len(asked), timeout=SECONDS_TO_END)
    for actor in actors:
        ray.kill(actor)
