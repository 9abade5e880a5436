"""Apply the choices of `ptspec.performance` to a stage, once, before its first step."""

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
    """Return the performance settings of `stage` with `rows` rows (None: streamed).

    A half-made stage in `folder` keeps its own; else they are chosen now and stored there. Rank 0 decides for
    all.
    """
    found, told = current().by_first(lambda: _decided(plan, stage, folder, device, rows))
    for text in told:
        listener(Warned(text, stage.name))
    return found


def as_begun(stage: Stage, folder: Path) -> Stage:
    """Return `stage` with the settings stored in `folder`."""
    begun = read_decision(folder)
    return stage if begun is None else begun.applied(stage)


def _decided(
    plan: Plan, stage: Stage, folder: Path, device: Device, rows: int | None
) -> tuple[Decision, tuple[str, ...]]:
    begun = read_decision(folder)
    if begun is not None:
        return on_another_device(begun, device.kind)
    if last_step(folder) is not None:  # started by a version without these choices
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
