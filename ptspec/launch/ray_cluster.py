"""The Ray cluster of a run, existing or local to the run, and whether it has the requested resources."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import ray

from ptspec.diagnostics import Diagnostic, InputError, first_line
from ptspec.recipe.compute_rules import RAY
from ptspec.recipe.plan import ComputeSpec, Plan

SECONDS_TO_CONNECT = 5.0
TRIES = 3
"""Attempts to start a local cluster: Ray gives up after 30 s, too short on a busy machine."""
Bundle = Mapping[str, float]
"""Resources of a worker or a node, under Ray's names."""


@dataclass(frozen=True)
class Cluster:
    """A connected cluster; `name`: its address, or "local"."""

    name: str
    most: Bundle | None = field(default=None, compare=False)
    """The resources an autoscaler may provide in total; None without one."""

    @property
    def nodes(self) -> Sequence[Bundle]:
        """The total resources of each node, used or free."""
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]

    @property
    def words(self) -> str:
        """The cluster in words, with its resources."""
        return f"Ray, {self.name}: {_has(self.nodes)}"

    def bundle(self, compute: ComputeSpec) -> Bundle:
        """Return the resources of each worker of `compute`.

        As in the recipe; else one CPU, and one GPU if the cluster has GPUs.
        """
        given = (compute.ray or {}).get("resources_per_worker")
        if given is not None:
            return {name: float(amount) for name, amount in given.items() if amount}
        has_gpus = any(node.get("GPU") for node in self.nodes)
        return {"CPU": 1.0, "GPU": 1.0} if has_gpus else {"CPU": 1.0}

    def lacks(self, compute: ComputeSpec) -> str | None:
        """Return why the workers of `compute` can never be placed; None if they can."""
        bundle = self.bundle(compute)
        room = sum(_times(node, bundle) for node in self.nodes)
        if room >= compute.world or self._may_become(bundle, compute.world):
            return None
        each = in_words(bundle)
        asked = f"{compute.world} worker{'s' * (compute.world != 1)} of {each}"
        verb = "needs a place" if compute.world == 1 else "need places"
        return f"{asked} {verb}, and the cluster has room for {room}: {_has(self.nodes)}"

    def _may_become(self, bundle: Bundle, workers: int) -> bool:
        most = self.most
        return most is not None and all(most.get(name, 0) >= n * workers for name, n in bundle.items())


def in_words(bundle: Bundle) -> str:
    """Return a bundle in words: "2 CPU, 1 GPU"."""
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(bundle.items()))


def _has(nodes: Sequence[Bundle]) -> str:
    alike = Counter(in_words(_own(node)) or "nothing" for node in nodes)
    each = [f"{number} × {text}" if number > 1 else text for text, number in alike.items()]
    return f"{len(nodes)} node{'s' * (len(nodes) != 1)} ({'; '.join(each)})"


def _own(node: Bundle) -> Bundle:
    """Return resources without Ray's per-node labels and memory."""
    hidden = ("node:", "accelerator_type:", "object_store_memory", "memory")
    return {name: amount for name, amount in node.items() if not name.startswith(hidden)}


def _times(node: Bundle, bundle: Bundle) -> int:
    """Return how many of `bundle` fit on a node."""
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in bundle.items())


def computes(plan: Plan) -> dict[str, ComputeSpec]:
    """Return the distinct Ray `compute`s of `plan`, by their place in the recipe."""
    asked = {"/compute": plan.compute} if plan.evaluation is not None else {}
    asked |= {stage.at: stage.compute for stage in plan.stages}
    return {where: one for where, one in asked.items() if one.launcher == RAY}


@contextlib.contextmanager
def connected(plan: Plan) -> Iterator[Cluster]:
    """Connect to the cluster of `plan` within the context.

    Raises `InputError` if it cannot be reached, or lacks the resources of the plan.
    """
    asked = computes(plan)
    address = next((one.ray["address"] for one in asked.values() if one.ray and "address" in one.ray), None)
    address = address or os.environ.get("RAY_ADDRESS") or None
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(address)
    try:
        name = f"the cluster at {ray.get_runtime_context().gcs_address}" if address else "a local cluster"
        cluster = Cluster(name, _most())
        told = [_told(where, why) for where, one in asked.items() if (why := _refused(cluster, one))]
        if told:
            raise InputError(*told)
        yield cluster
    finally:
        if is_ours:
            ray.shutdown()


def _refused(cluster: Cluster, compute: ComputeSpec) -> str | None:
    if compute.is_sharded and "GPU" not in cluster.bundle(compute):
        return '"fsdp" needs GPUs, and no worker takes one: accelerate shards on accelerators only'
    return cluster.lacks(compute)


def _told(where: str, why: str) -> Diagnostic:
    hint = "fewer processes, or other resources_per_worker; a node has what its ray start was given"
    return Diagnostic("no-room", why, pointer=where, hint=hint)


def _connect(address: str | None) -> None:
    """Connect to the cluster at `address`, or start one on this machine."""
    if address is not None:
        _must_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for tries_left in reversed(range(TRIES if address is None else 1)):
            try:
                return _init(address)
            except Exception as error:  # connection, version and token errors have different classes
                ray.shutdown()
                if not tries_left:
                    raise InputError(_unreachable(address, first_line(error))) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _init(address: str | None) -> None:
    own = {"include_dashboard": False} if address is None else {}
    ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, namespace="ptspec", **own)


def _must_answer(address: str) -> None:
    """Raise `InputError` if nothing listens: Ray itself tries for half a minute or more."""
    host, _, port = address.rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(_unreachable(address, "it is not HOST:PORT"))
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise InputError(_unreachable(address, str(error))) from error


def _unreachable(address: str | None, why: str) -> Diagnostic:
    if address is None:
        return Diagnostic("no-cluster", f"no local Ray cluster could be begun: {why}", pointer="/compute")
    hint = (
        "ray start --head begins one, ray status tells what there is; without an address, and without "
        "RAY_ADDRESS, the run begins a local one"
    )
    return Diagnostic("no-cluster", f"no Ray cluster at {address}: {why}", pointer="/compute/ray", hint=hint)


def _most() -> Bundle | None:
    """Return what an autoscaler may add, as Ray Train computes it."""
    try:
        from ray._private.state import state

        return state.get_max_resources_from_cluster_config()  # type: ignore[no-any-return]  # Ray leaves it untyped
    except (ImportError, AttributeError):
        return None
