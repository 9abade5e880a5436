"""What `ptspec.performance` chooses for a stage on this machine: once, before its first step."""

from __future__ import annotations

from pathlib import Path

from ptspec.estimate.decided import decision_of
from ptspec.estimate.host import host_memory
from ptspec.events import Listener, Warned
from ptspec.model.device import Device, device_capability, device_memory
from ptspec.performance.decide import Decision
from ptspec.performance.machine import Machine, this_machine
from ptspec.performance.record import on_another_device, read_decision, write_decision
from ptspec.processes import current
from ptspec.recipe.plan import Performance, Plan, Stage
from ptspec.store.half_made import last_step


def decided(
    plan: Plan, stage: Stage, folder: Path, device: Device, rows: int | None, listener: Listener
) -> Decision:
    """What `stage`, of so many `rows` (None: streamed), trains with: what it began with, where it is half
    made in `folder`; else what is chosen now, and kept there. The first process decides for all."""
    found, told = current().by_first(lambda: _decided(plan, stage, folder, device, rows))
    for text in told:
        listener(Warned(text, stage.name))
    return found


def as_begun(stage: Stage, folder: Path) -> Stage:
    """`stage` with what was decided for it in `folder`."""
    begun = read_decision(folder)
    return stage if begun is None else begun.applied(stage)


def _decided(
    plan: Plan, stage: Stage, folder: Path, device: Device, rows: int | None
) -> tuple[Decision, tuple[str, ...]]:
    begun = read_decision(folder)
    if begun is not None:
        return on_another_device(begun, device.kind)
    if last_step(folder) is not None:  # begun by a version that chose nothing
        found = Decision(Performance.OFF, device.kind)
    else:
        found = decision_of(plan, stage, _machine(stage, device), rows)
    write_decision(found, folder)
    return found, ()


def _machine(stage: Stage, device: Device) -> Machine:
    if not device.is_cpu:
        return this_machine(device.kind, device_memory(device), device_capability(device))
    memory = host_memory()
    return this_machine(device.kind, None if memory is None else memory // stage.compute.processes)
