"""A forecast as text (a table and details) or as one JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from ptspec.estimate.advice import Advice
from ptspec.estimate.forecast import Forecast, StageForecast
from ptspec.estimate.held import Part
from ptspec.estimate.memory import Memory
from ptspec.estimate.rowcount import cut_words
from ptspec.estimate.sharding import sharding_of
from ptspec.methods.types import Yields
from ptspec.performance.threads import COUNT, POLICY, SPINS, is_chosen
from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.effective_config import EffectiveConfig, own_defaults
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.plan import Performance, Stage
from ptspec.recipe.vllm import vllm_of
from ptspec.report import words
from ptspec.report.matrix import matrix_note, once_a_matrix
from ptspec.report.on_paper import paper_json, paper_lines, sent_in_words, sent_json
from ptspec.report.performance import performance_json, performance_lines
from ptspec.store.reuse import ReuseState

_HEADER = (
    *("stage", "method", "from", "hand-over", "reference", "data", "steps", "tokens"),
    *("trains", "memory", "note"),
)
_RIGHT = ("steps", "tokens", "trains", "memory")


def as_text(forecast: Forecast, width: int) -> str:
    """Return the stages in a table, then memory by part, disk, advice and unknowns, in `width` columns."""
    rows = [_HEADER, *(_row(one) for one in forecast.stages)]
    below = [
        line
        for text in once_a_matrix(_below(forecast), forecast.plan.stages)
        for line in _wrapped(text, width)
    ]
    paper = [
        line
        for text, is_text in paper_lines(forecast)
        for line in (_wrapped(text, width) if is_text else [text])
    ]
    return "\n".join([*_table(_without_empty(rows)), "", *below, *([""] if paper else []), *paper]) + "\n"


def _without_empty(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Remove columns that are empty for every stage."""
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return list(zip(*kept, strict=True))


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text, keeping numbers with their units."""
    kept = re.sub(r"(?<=\d) (?=[kMGT]?B\b)", "\u00a0", text)
    lines = wrap(kept, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def as_json(forecast: Forecast) -> str:
    """Return one object; sizes in bytes, `null` for unknown values."""
    plan = forecast.plan
    value = {
        "name": plan.name,
        "output": str(plan.output),
        "model": plan.model.path,
        "parameters": forecast.parameters,
        "parameters_left_out": dict(forecast.left_out),
        "device": "gpu" if forecast.gpu else "cpu",
        "device_memory_bytes": forecast.device_memory,
        "stages": [_stage_json(one) for one in forecast.stages],
    }
    return json.dumps(value, indent=2)


def handover_in_words(stage: Stage) -> str:
    """Return "new LoRA", "continue", "merge, new LoRA", "stack", "full"."""
    if stage.merge is not None:
        return "sum of adapters" if stage.merge.of_adapters else "mean of weights"
    if not stage.adapter.use_lora:
        text = "full" if stage.handover is None else "merge, full"
    else:
        kind = "QLoRA" if stage.adapter.use_qlora else "LoRA"
        new = f"new {kind}"
        text = new if stage.handover is None else stage.handover.value
        text = f"merge, {new}" if text == "merge" else text
    return f"{text}, new head" if stage.method.yields is Yields.REWARD_MODEL else text


def reference_in_words(stage: Stage) -> str:
    """Return the reference in words: "sft, frozen"; a dash without one."""
    return f"{stage.parent}, frozen" if stage.has_reference else words.NOTHING


def note_of(one: StageForecast) -> str:
    """Return whether the stage is reused, and if not, why it is trained."""
    texts = {
        ReuseState.NEW: one.reuse.reason,
        ReuseState.REUSED: "= reused (unchanged)",
        ReuseState.AGAIN: one.reuse.reason,
        ReuseState.GOES_ON: f"goes on from {one.reuse.reason}",
        ReuseState.TAKEN_OVER: f"= taken over {one.reuse.reason}",
    }
    what = matrix_note(one.stage)
    return "; ".join(filter(None, (what, texts[one.reuse.state])))


def _row(one: StageForecast) -> tuple[str, ...]:
    stage = one.stage
    if stage.pick is not None:
        return (stage.name, "pick", *[""] * (len(_HEADER) - 3), note_of(one))
    if stage.merge is not None:
        what = (stage.name, stage.method.name, stage.merge.words, handover_in_words(stage))
        return (*what, *[""] * (len(_HEADER) - len(what) - 1), note_of(one))
    about = "" if one.counted and one.counted.exact else "≈ "
    most = "≤ " if stage.method.online else about
    rows = one.counted.rows if one.counted else None
    return (
        stage.name,
        stage.method.name,
        stage.parent,
        handover_in_words(stage),
        reference_in_words(stage),
        f"{stage.data} {about}{rows:,}" if rows is not None else stage.data,
        f"{one.steps.total:,}" if one.steps else "?",
        f"{most}{words.parameters(one.tokens)}" if one.tokens is not None else "?",
        words.parameters(one.adapter.trained) if one.adapter else "?",
        bytes_in_words(one.memory.total) if one.memory else "?",
        note_of(one),
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(rows[0], row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _below(forecast: Forecast) -> Iterator[str]:
    for one in forecast.stages:
        if one.memory is not None:
            yield f"memory of {one.stage.name}: {_parts(one.memory)}"
    for part, count in forecast.left_out.items():
        yield f"left out of the checkpoint: {part}, {words.parameters(count)} parameters"
    yield from _disk(forecast)
    yield from _device(forecast)
    for one in forecast.stages:
        if one.counted is not None and (cut := cut_words(one.counted)):
            yield f"{one.stage.name}: {cut}"
    for one in forecast.stages:
        if (line := _processes(one)) is not None:
            # For a plan on paper the sent bytes are shown with their time.
            yield line if one.paper is not None or not one.sent else f"{line}; {_sends(one)}"
    for one in forecast.stages:
        if (sampler := vllm_of(one.stage)) is not None:
            yield f"{one.stage.name}: sampled by {sampler.words}"
    for one in forecast.stages:
        if one.measured is not None:
            yield f"{one.stage.name}: measured while it trains {one.measured.words}"
        if one.stage.teacher is not None:
            yield f"{one.stage.name}: taught by {one.stage.teacher.path}, frozen"
    yield from performance_lines(forecast)
    for one in forecast.stages:
        for default in own_defaults(one.stage.method, one.stage.config):
            yield f"{one.stage.name}: {default.words}"
    yield from dict.fromkeys(f"not known: {why}" for one in forecast.stages for why in one.unknown)


def _processes(one: StageForecast) -> str | None:
    """Return "sft: 2 processes (ddp), each 8 rows × 2 passes a step: 32 together"; None for one process."""
    compute = one.stage.compute
    if compute.world == 1:
        return None
    settings = EffectiveConfig(one.as_run, compute, gpu=False)
    rows, passes = settings.number(ROWS, 8), settings.number(PASSES, 1)
    cut = f"{words.plural(rows, 'row')} × {passes} pass{'es' * (passes != 1)}"
    together = f"{rows * passes * compute.world} together"
    processes = f"{compute.world} processes ({sharding_of(compute).words})"
    return f"{one.stage.name}: {processes}, each {cut} a step: {together}"


def _sends(one: StageForecast) -> str:
    return f"each sends {sent_in_words(one.sent, one.stage.compute.world)} a step"


def _parts(memory: Memory) -> str:
    parts = [f"{part.name} {bytes_in_words(part.bytes)}" for part in (*memory.held, *memory.training)]
    if memory.opened:
        whole = " · ".join(f"{part.name} {bytes_in_words(part.bytes)}" for part in memory.opened)
        parts.append(f"or, while they are opened, {whole}")
    if memory.sampling:
        sampled = " · ".join(f"{part.name} {bytes_in_words(part.bytes)}" for part in memory.sampling)
        parts.append(f"or, while it samples, {sampled}")
    if memory.measuring and _bytes(memory.measuring) > max(_bytes(memory.training), _bytes(memory.sampling)):
        measured = " · ".join(f"{part.name} {bytes_in_words(part.bytes)}" for part in memory.measuring)
        parts.append(f"or, while it is measured, {measured}")
    return " · ".join(parts)


def _disk(forecast: Forecast) -> Iterator[str]:
    known = [one for one in forecast.stages if one.disk is not None]
    if known:
        each = ", ".join(f"{o.stage.name} {bytes_in_words(o.disk.kept)}" for o in known if o.disk)
        peak = max(one.disk.peak for one in known if one.disk)
        yield f"disk: {each}; while a stage trains up to {bytes_in_words(peak)}"


def _device(forecast: Forecast) -> Iterator[str]:
    asked = "--device-memory 24GB asks about a GPU of that size"
    if not forecast.gpu:
        yield from _cpu(forecast.device_memory, asked)
        if forecast.plan.performance is Performance.AUTO and is_chosen():
            unset = f"{SPINS} and {POLICY} are not set"
            yield f"threads that wait spin {COUNT:,} turns before they sleep ({unset})"
    elif forecast.device_memory is None:
        yield f"estimated for a GPU; {asked}"
    if forecast.device_memory is None:
        return
    size = bytes_in_words(forecast.device_memory)
    for one in forecast.stages:
        if not one.stage.trains:
            continue
        if one.advice is None:
            yield f"{one.stage.name}: whether {size} will do is not known"
        elif not one.advice.fits or one.advice.changes or forecast.gpu:
            yield _fits(one.stage.name, one.advice, size)


def _cpu(memory: int | None, asked: str) -> Iterator[str]:
    has = f"; this machine has {bytes_in_words(memory)}" if memory else ""
    kept = "the C library may keep half as much again of what is freed"
    yield f"estimated for the CPU, the whole process: {kept}{has}; {asked}"


def _fits(stage: str, advice: Advice, size: str) -> str:
    needs = f"({bytes_in_words(advice.bytes)})"
    if not advice.changes:
        return f"{stage}: {'fits' if advice.fits else 'does not fit'} {size} {needs}"
    after = bytes_in_words(advice.after)
    then = f"then it needs {after}" if advice.fits else f"and it would still need {after}"
    return f"{stage}: does not fit {size} {needs}; set {', '.join(advice.changes)}: {then}"


def _stage_json(one: StageForecast) -> dict[str, Any]:
    stage, counted = one.stage, one.counted
    return {
        "stage": stage.name,
        "method": stage.method.name,
        "from": stage.parent,
        "handover": stage.handover.value if stage.handover else None,
        "handover_in_words": handover_in_words(stage),
        "reference": reference_in_words(stage) if stage.has_reference else None,
        "teacher": stage.teacher.path if stage.teacher is not None else None,
        "data": stage.data or None,
        "rows": counted.rows if counted else None,
        "rows_trained": counted.trained if counted else None,
        "rows_exact": counted.exact if counted else False,
        "longest_tokens": counted.longest if counted else None,
        "cut": cut_words(counted) if counted else None,
        "steps": one.steps.total if one.steps else None,
        "epochs": one.steps.epochs if one.steps else None,
        "effective_batch": one.steps.batch if one.steps else None,
        "processes": stage.compute.world,
        "strategy": (stage.compute.strategy or "ddp") if stage.compute.world > 1 else None,
        "sent_a_step": sent_json(one),
        "on_paper": paper_json(one),
        "measured": _measured_json(one),
        "sampled_by": sampler.words if (sampler := vllm_of(stage)) is not None else None,
        "generation_batch": (one.steps.generation or None) if one.steps else None,
        "tokens": one.tokens,
        "performance": performance_json(one),
        "own_defaults": [asdict(default) for default in own_defaults(stage.method, stage.config)],
        "trainable_parameters": one.adapter.trained if one.adapter else None,
        "memory_bytes": _memory_json(one.memory),
        "disk_bytes": asdict(one.disk) if one.disk else None,
        "fits": one.advice.fits and not one.advice.changes if one.advice else None,
        "changes": list(one.advice.changes) if one.advice else [],
        "state": one.reuse.state.value,
        "reason": one.reuse.reason or None,
        "fingerprint": one.reuse.fingerprint,
        "unknown": list(one.unknown),
        "matrix": stage.variant.of if stage.variant else None,
        "settings": dict(stage.variant.settings) if stage.variant else None,
        "picks": list(stage.pick.variants) if stage.pick else None,
        "pick_by": stage.pick.metric if stage.pick else None,
        "of": {part.name: part.weight for part in stage.merge.parts} if stage.merge else None,
    }


def _measured_json(one: StageForecast) -> dict[str, Any] | None:
    """Return when the stage is evaluated during training, and the consequences."""
    if (measured := one.measured) is None:
        return None
    counted = {"rows": measured.rows, "evaluations": measured.times, "in_words": measured.words}
    return {**asdict(measured.evaluation), **counted}


def _bytes(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts)


def _memory_json(memory: Memory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    groups = {"held": memory.held, "training": memory.training, "sampling": memory.sampling}
    groups |= {"opened": memory.opened, "measuring": memory.measuring}
    parts = {name: {part.name: part.bytes for part in group} for name, group in groups.items()}
    return {"total": memory.total, **parts}
