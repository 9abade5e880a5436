"""Options of `pt plan` for devices other than this machine's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptspec.diagnostics import Diagnostic, InputError

if TYPE_CHECKING:
    from ptspec.estimate.devices import Device
    from ptspec.estimate.on_paper import Cluster
    from ptspec.recipe.plan import ComputeSpec

STRATEGIES = ("ddp", "fsdp", "deepspeed")


@dataclass(frozen=True)
class Paper:
    """The given options; None: as in the recipe. `processes` counts all nodes together."""

    device: Device | None = None
    processes: int | None = None
    nodes: int | None = None
    strategy: str | None = None

    @property
    def given(self) -> str | None:
        """The first option that was given, else None."""
        values: dict[str, object] = {
            "--device": self.device,
            "--processes": self.processes,
            "--nodes": self.nodes,
        }
        values |= {"--strategy": self.strategy}
        return next((name for name, value in values.items() if value is not None), None)

    @property
    def overrides(self) -> list[str]:
        """The values of the recipe's `compute`, as `--set` arguments."""
        return [f"compute.{key}={json.dumps(value)}" for key, value in self._changed()]

    def cluster(self, compute: ComputeSpec) -> Cluster | None:
        """Return the devices, in nodes as in `compute`, else of the usual size."""
        from ptspec.estimate.on_paper import Cluster

        if self.device is None:
            return None
        several = compute.nodes > 1 or self.nodes is not None
        node = compute.processes if several else max(self.device.node, compute.processes)
        return Cluster(self.device, node)

    def _changed(self) -> Iterator[tuple[str, object]]:
        if self.processes is not None:
            nodes = self.nodes or self._usual_nodes(self.processes)
            yield from (("launcher", "accelerate"), ("processes", self.processes // nodes), ("nodes", nodes))
        elif self.nodes is not None:
            yield from (("launcher", "accelerate"), ("nodes", self.nodes))
        if self.strategy is not None:
            yield "strategy", self.strategy

    def _usual_nodes(self, processes: int) -> int:
        return -(-processes // self.device.node) if self.device is not None else 1


def paper(device: str | None, processes: int | None, nodes: int | None, strategy: str | None) -> Paper:
    """Return the given options. Raises `InputError` if one is invalid or needs another."""
    for name, number in (("--processes", processes), ("--nodes", nodes)):
        if number is not None and number < 1:
            raise _wrong(f"{name} is {number}", "1 or more")
    if strategy is not None and strategy not in STRATEGIES:
        raise _wrong(f'--strategy: there is no "{strategy}"', f"one of {', '.join(STRATEGIES)}")
    asked = Paper(None if device is None else _device(device), processes, nodes, strategy)
    if processes is not None:
        count = nodes or asked._usual_nodes(processes)
        if processes % count:
            usual = "" if nodes else f" (a node has {asked.device.node if asked.device else 1})"
            message = f"--processes {processes} cannot be spread evenly over {count} nodes{usual}"
            raise _wrong(message, f"a multiple of {count}, or another --nodes")
    return asked


def _device(name: str) -> Device:
    from ptspec.estimate.devices import DEVICES, find

    found = find(name)
    if found is None:
        hint = f"one of {', '.join(DEVICES)}; of another its size: --device-memory 24GB"
        raise _wrong(f'--device: "{name}" is not known', hint)
    return found


def _wrong(message: str, hint: str) -> InputError:
    return InputError(Diagnostic("wrong-usage", message, hint=hint))
