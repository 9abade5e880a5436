"""What was measured of each peer, as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from whole_process import Cost, Failed

from peers.chain import Peer

MARGIN = "rewards/margins"
Logged = list[dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """Where the policies of a chain stand; `logged` are SFT's and DPO's steps."""

    logged: tuple[Logged, Logged]
    begins: float
    saved: float
    to_sft: float
    to_base: float
    opens: bool


@dataclass
class Row:
    peer: Peer
    version: str | None
    turns: list[list[Cost]] = field(default_factory=list)
    """What each process cost, turn by turn."""
    seen: Seen | None = None
    error: str = ""


def reason(failed: Failed) -> str:
    lines = failed.__notes__[0].splitlines()
    said = [line for line in lines if "Error" in line] or lines[-1:] or ["no word"]
    return f"{failed}: {said[-1].strip()[:160]}"


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    shown = [f"| {' | '.join(line)} |" for line in (titles, *lines)]
    shown.insert(1, "|---" * len(titles) + "|")
    return "\n".join(shown)


def wall(turn: list[Cost]) -> float:
    return sum(cost.wall for cost in turn)


def processor(turn: list[Cost]) -> float:
    return sum(cost.processor for cost in turn)


def memory(turn: list[Cost]) -> float:
    """Megabytes of the largest process."""
    return max(cost.memory for cost in turn) / 1e6


MEASURES: dict[str, Callable[[list[Cost]], float]] = {"s": wall, "processor s": processor, "peak MB": memory}


def costs(rows: Sequence[Row]) -> str:
    """Medians; and ptspec's share of each peer's, turn by turn."""
    ours = next((row for row in rows if row.peer.package == "ptspec"), None)
    titles = ["", "version", *MEASURES, *(f"ptspec / it: {name}" for name in MEASURES)]
    return table(titles, [[row.peer.title, row.version or "", *cost_cells(row, ours)] for row in rows])


def cost_cells(row: Row, ours: Row | None) -> list[str]:
    if not row.turns or row.error:
        return [row.error.replace("|", "/") or "not installed", *[""] * (2 * len(MEASURES) - 1)]
    medians = [f"{statistics.median(map(measure, row.turns)):.1f}" for measure in MEASURES.values()]
    if ours is None or row is ours:
        return [*medians, *[""] * len(MEASURES)]
    pairs = list(zip(ours.turns, row.turns, strict=False))
    return [*medians, *(spread([measure(a) / measure(b) for a, b in pairs]) for measure in MEASURES.values())]


def spread(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


TITLES = (
    "",
    "version",
    "first DPO margin",
    "first DPO loss",
    "DPO's start − SFT's end",
    "opens",
    "saved − in memory",
    "saved − SFT",
    "saved − base",
)


def policies(rows: Sequence[Row]) -> str:
    return table(TITLES, [[row.peer.title, row.version or "", *policy_cells(row)] for row in rows])


def policy_cells(row: Row) -> list[str]:
    if row.seen is None:
        error = row.error.replace("|", "/") if row.version else "not installed"
        return [error, *[""] * (len(TITLES) - 3)]
    seen = row.seen
    first = next((step for step in seen.logged[1] if "loss" in step), {})
    margin, loss = number(first.get(MARGIN)), number(first.get("loss"))
    return [
        shown(margin),
        "not logged" if loss is None else f"{loss:.4f}",
        shown(seen.begins),
        "yes" if seen.opens else "no",
        *map(shown, (seen.saved, seen.to_sft, seen.to_base)),
    ]


def losses(rows: Sequence[Row]) -> str:
    """The loss at the first step, a quarter, half, three quarters and the last, of both trainings."""
    found = [(row.peer.title, [curve(part) for part in row.seen.logged]) for row in rows if row.seen]
    if not found:
        return ""
    steps = min(len(part) for _, parts in found for part in parts)
    chosen = sorted({0, *(max(0, steps * quarter // 4 - 1) for quarter in (1, 2, 3, 4))})
    titles = ["loss at step", *(f"{name} {step + 1}" for name in ("SFT", "DPO") for step in chosen)]
    return table(
        titles, [[title, *(f"{part[n]:.4f}" for part in parts for n in chosen)] for title, parts in found]
    )


def curve(logged: Logged) -> list[float]:
    return [value for step in logged if (value := number(step.get("loss"))) is not None]


def number(value: object) -> float | None:
    """Tools log numbers, or text of numbers."""
    return None if value is None else float(str(value))


def shown(value: float | None) -> str:
    if value is None:
        return "not logged"
    return "0" if abs(value) < 1e-6 else f"{value:.3f}" if abs(value) >= 1e-3 else f"{value:.0e}"
