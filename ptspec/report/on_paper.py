"""A stage on given devices: a table with its assumptions, or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ptspec.estimate.forecast import Forecast, StageForecast
from ptspec.estimate.on_paper import WORTH, OnPaper, Point, Range
from ptspec.estimate.step_time import FASTEST, SLOWEST
from ptspec.estimate.traffic import Collective
from ptspec.recipe.hints import bytes_in_words
from ptspec.report import words

Table = Sequence[Sequence[str]]
_HEADER = ("processes", "rows × passes", "memory", "step", "speed-up", "efficiency", "")
_UNITS = (("s", 1.0, 120.0), ("m", 60.0, 7200.0), ("h", 3600.0, 172_800.0), ("d", 86_400.0, math.inf))


def sent_in_words(sent: Sequence[Collective], processes: int) -> str:
    """Return "63 GB (all-gather of weights 42 GB, reduce-scatter of gradients 21 GB)"."""
    each = [
        f"{one.kind.value} of {one.what} {bytes_in_words(one.sent(processes))}" for one in sent if one.bytes
    ]
    total = bytes_in_words(sum(one.sent(processes) for one in sent))
    return (
        f"{each[0].rpartition(' of ')[0]} of {sent[0].what}, {total}"
        if len(each) == 1
        else (f"{total} ({', '.join(each)})")
    )


def paper_lines(forecast: Forecast) -> Iterator[tuple[str, bool]]:
    """Yield the lines about the requested devices; with each, whether it may be wrapped."""
    cluster = forecast.cluster
    if cluster is None:
        return
    yield f"on paper: {cluster.device.name}, every figure below an estimate", True
    for one in forecast.stages:
        if one.paper is not None:
            yield "", False
            yield from _stage(one, one.paper, forecast.device_memory or round(cluster.device.memory))
    if any(one.paper is not None for one in forecast.stages):
        yield "", False
        yield _assumed(forecast), True


def paper_json(one: StageForecast) -> dict[str, Any] | None:
    """Return one object; bytes, seconds, ranges as two numbers."""
    paper = one.paper
    if paper is None:
        return None
    return {
        "device": paper.device.name,
        "estimate": True,
        "step_seconds": list(paper.here.seconds),
        "computing_seconds": list(paper.computing),
        "sending_seconds": list(paper.sending),
        "stops_paying_at_processes": {"at_worst": paper.stops[0], "at_best": paper.stops[1]},
        "most_processes_by_rows": paper.limit,
        "points": [_point_json(point) for point in paper.points],
        "assumed": {
            "share_of_peak": [SLOWEST.share, FASTEST.share],
            "share_of_links": [SLOWEST.reached, FASTEST.reached],
            "peak_flops": paper.device.peak,
            "link_bytes_per_second": paper.device.link,
            "network_bytes_per_second_of_a_node": paper.device.network,
            "source": paper.device.source,
        },
    }


def sent_json(one: StageForecast) -> list[dict[str, Any]]:
    """Return what each process sends in a step, by collective."""
    world = one.stage.compute.world
    return [
        {"kind": sent.kind.value, "what": sent.what, "bytes": sent.bytes, "sent_bytes": sent.sent(world)}
        for sent in one.sent
    ]


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "processes": point.processes,
        "nodes": point.nodes,
        "rows": point.rows,
        "passes": point.passes,
        "memory_bytes": point.memory,
        "step_seconds": list(point.seconds),
        "speed_up": list(point.speed_up),
        "efficiency": list(point.efficiency),
    }


def _stage(one: StageForecast, paper: OnPaper, size: int) -> Iterator[tuple[str, bool]]:
    here, name = paper.here, one.stage.name
    on = f" on {here.nodes} nodes" if here.nodes > 1 else ""
    how = f"{here.processes} × {paper.device.name}{on}, {one.stage.compute.strategy or 'ddp'}"
    yield f"{name}: {how if here.processes > 1 else f'1 × {paper.device.name}'}", True
    if one.memory is not None and one.memory.opened:
        whole = bytes_in_words(one.memory.process + sum(part.bytes for part in one.memory.opened))
        training = bytes_in_words(one.memory.while_training)
        yield f"memory of {name}: {training} while it trains; {whole} while weights are opened, whole", True
    if one.sent:
        total = sent_in_words(one.sent, here.processes)
        over = "; over the network each node as much" if here.nodes > 1 else ""
        yield f"{name}: a step sends from each process {total}{over}", True
    yield f"{name}: {_times(one, paper)}", True
    yield from ((line, False) for line in _table(paper, size))
    if any(point.memory is not None and point.memory > size for point in paper.points):
        yield f"  ! more than {bytes_in_words(size)}", True
    yield f"{name}: {_limits(paper)}", True
    if one.stage.method.online:
        yield f"{name}: the time to sample completions, most of such a step, is not in it", True
    if one.stage.adapter.use_qlora:
        yield f"{name}: the time to dequantise weights is not in it", True


def _times(one: StageForecast, paper: OnPaper) -> str:
    text = f"a step {seconds(paper.here.seconds)}"
    if one.sent:
        text += f" (computing {seconds(paper.computing)}, sending {seconds(paper.sending)})"
    if one.steps is None:
        return text
    low, high = (one.steps.total * each for each in paper.here.seconds)
    return f"{text}, {words.plural(one.steps.total, 'step')} {seconds((low, high))}"


def _table(paper: OnPaper, size: int) -> Iterator[str]:
    rows = [_HEADER, *(_row(point, paper, size) for point in paper.points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(point: Point, paper: OnPaper, size: int) -> tuple[str, ...]:
    memory = "?" if point.memory is None else bytes_in_words(point.memory)
    too_much = " !" if point.memory is not None and point.memory > size else "  "
    low, high = point.speed_up
    return (
        str(point.processes),
        f"{point.rows} × {point.passes}",
        memory + too_much,
        seconds(point.seconds),
        _span(_times_as_fast(low), _times_as_fast(high)),
        _span(f"{100 * point.efficiency[0]:.0f}", f"{100 * point.efficiency[1]:.0f}") + " %",
        "←" if point is paper.here and len(paper.points) > 1 else "",
    )


def _limits(paper: OnPaper) -> str:
    worst, best = paper.stops
    if worst is None:
        text = f"as far as this goes, twice the processes bring {WORTH} × or more"
    else:
        upper = f"from {best} at best" if best is not None else "at best nowhere in this table"
        same = f"from {worst} processes on"
        text = f"twice the processes bring less than {WORTH} × "
        text += same if worst == best else f"{same} at worst, {upper}"
    if paper.limit is None:
        return f"{text}; each process takes as many rows (keep_effective_batch false)"
    return f"{text}; a step has {words.plural(paper.limit, 'row')}, which no more processes can share"


def _assumed(forecast: Forecast) -> str:
    assert forecast.cluster is not None
    device = forecast.cluster.device
    parts = [
        f"computing at {_percent(SLOWEST.share)} to {_percent(FASTEST.share)} of "
        f"{device.peak / 1e12:,.0f} TFLOP/s, the shares that NeMo Automodel publishes for H100",
        "a token takes 6 FLOP for each weight that learns, 4 for a frozen one, 2 for a pass without "
        "gradients or one that gradient checkpointing repeats",
        "rows of mean length, no padding",
    ]
    if any(one.paper is not None and len(one.paper.points) > 1 for one in forecast.stages):
        parts += [
            f"{device.linked_by}, {bytes_in_words(device.link)}/s from each device; nodes of "
            f"{forecast.cluster.node} joined by {device.networked_by}; {_percent(SLOWEST.reached)} to "
            f"{_percent(FASTEST.reached)} of these rates reached",
            "at best all sending is hidden behind computing, at worst none",
        ]
    left_out = "not in it: waiting for rows, rewards, evaluation, saving"
    return f"assumed: {'; '.join(parts)}; {left_out}. Source: {device.source}; docs/scaling.md"


def seconds(span: Range) -> str:
    """Return "0.9–2.4 s", "12–31 m": a range in one unit, to two digits."""
    low, high = span
    if high < 0.95:
        return _span(_two_digits(low * 1000), _two_digits(high * 1000)) + " ms"
    unit, size, _ = next(one for one in _UNITS if high < one[2])
    return _span(_two_digits(low / size), _two_digits(high / size)) + f" {unit}"


def _percent(share: float) -> str:
    return words.percent(share, 0)


def _times_as_fast(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _two_digits(value: float) -> str:
    if value <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(value))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"
