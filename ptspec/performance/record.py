"""Store a stage's decision in its folder, so that a resumed stage uses the same one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptspec.performance.choice import ATTENTION, Choice
from ptspec.performance.decide import Decision
from ptspec.performance.machine import CPU
from ptspec.recipe.json_object import read_object
from ptspec.recipe.plan import Performance
from ptspec.store.files import write_json

FILE = ".performance.json"
FORMAT = 1


def read_decision(folder: Path) -> Decision | None:
    """Return the decision of the half-made stage in `folder`; None if there is none or it is damaged."""
    value = read_object(folder / FILE)
    if value.get("format") != FORMAT:
        return None
    try:
        choices = tuple(_choice(one) for one in value["choices"])
        return Decision(Performance(value["performance"]), str(value["device"]), choices)
    except (KeyError, TypeError, ValueError):
        return None


def write_decision(decision: Decision, folder: Path) -> None:
    """Store `decision` in a stage's folder."""
    write_json(folder / FILE, {"format": FORMAT, **as_json(decision)})


def forget_decision(folder: Path) -> None:
    """Remove the file of `write_decision`: a trained stage has it in its record."""
    (folder / FILE).unlink(missing_ok=True)


def as_json(decision: Decision) -> dict[str, Any]:
    """Return the record of a decision: its choices without the proposed ones."""
    taken = [choice_json(choice) for choice in decision.taken]
    return {"performance": decision.performance.value, "device": decision.device, "choices": taken}


def choice_json(choice: Choice) -> dict[str, Any]:
    """Return the record of a choice."""
    return {
        "fields": dict(choice.values),
        "about": choice.about,
        "reason": choice.reason,
        "gain": None if choice.gain is None else round(choice.gain, 2),
        "effect": choice.effect.value,
    }


def _choice(value: Mapping[str, Any]) -> Choice:
    gain = value["gain"]
    return Choice(
        dict(value["fields"]),
        str(value["about"]),
        str(value["reason"]),
        None if gain is None else float(gain),
    )


def on_another_device(decision: Decision, kind: str) -> tuple[Decision, tuple[str, ...]]:
    """Return `decision` without what a device of another `kind` cannot do, and messages about it."""
    if decision.device == kind:
        return decision, ()
    kept = tuple(c for c in decision.taken if kind != CPU or ATTENTION not in c.values)
    words = f"started on {decision.device} and continues on {kind}, with the settings that were chosen then"
    dropped = [choice.about for choice in decision.taken if choice not in kept]
    return Decision(decision.performance, decision.device, kept), (
        words + (f", but for {', '.join(dropped)}" if dropped else ""),
    )
