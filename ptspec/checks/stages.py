"""Check each stage's config against its rows, before the run starts: too few rows, or the wrong kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.table import layout_for
from ptspec.data.readers.placed import first_row
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.estimate.shares import shares_and_rows
from ptspec.estimate.steps import Steps, count, group_of
from ptspec.methods.types import Rows
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.hints import listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.sources import Mix, Source, Until, is_streamed, parts_of

UNREAD = 0.1
"""Share of a source's rows that a mix may leave unread without a warning."""


def check_stages(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield errors of batch sizes, step counts and loss types against the rows."""
    for stage in plan.trained:
        settings = EffectiveConfig(stage, stage.compute, gpu=False)
        yield from _loss_of_a_part(plan, stage, seen)
        yield from _unread(plan, stage, seen)
        yield from _mixed_forms(plan, stage, seen)
        rows = _rows(plan, settings, seen)
        if not rows or settings.value("packing"):
            continue
        steps = count(settings, rows)
        fault = _no_step(settings, rows, steps) or _short(settings, steps)
        if fault is not None:
            yield fault


def _loss_of_a_part(plan: Plan, stage: Stage, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield SFT's completion-only loss over rows that do not mark the completion."""
    for name in parts_of(plan.data, stage.data):
        part = plan.data[name]
        items = seen[name].first if name in seen else ()
        first = first_row(items)
        layout = layout_for(stage.method.rows, frozenset(first.values)) if first else None
        if first is None or layout is None or not isinstance(part, Source):
            continue
        kind = layout.columns[0]
        if stage.config.get("completion_only_loss") and kind in ("messages", "conversations", "text"):
            message = (
                f'"completion_only_loss" needs prompt and completion; the rows of "{name}" are of {kind}'
            )
            hint = "leave it out" if kind == "text" else '"assistant_only_loss" is for chats'
            yield _contradiction(stage, "completion_only_loss", message, hint)
        is_plain = kind == "text" or (not part.chat and not isinstance(first.values.get(kind), list))
        if stage.config.get("assistant_only_loss") and is_plain:
            message = f'"assistant_only_loss" needs chats; the rows of "{name}" are plain text'
            yield _contradiction(stage, "assistant_only_loss", message, "leave it out")


def _mixed_forms(plan: Plan, stage: Stage, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield plain strings mixed with chats, if the trainer takes only one of them."""
    parts = [plan.data[name] for name in parts_of(plan.data, stage.data)]
    if stage.eval_data is not None:
        parts += [plan.data[name] for name in parts_of(plan.data, stage.eval_data)]
    makes_tokens = stage.method.tokens.joins_forms and not (
        stage.eval_data is not None and is_streamed(plan.data, stage.data)
    )
    if makes_tokens or len(parts) < 2:
        return
    forms = {part.name: _is_chat(part, stage, seen) for part in parts if isinstance(part, Source)}
    chats, strings = ([name for name, is_chat in forms.items() if is_chat is kind] for kind in (True, False))
    if chats and strings:
        message = (
            f'stage "{stage.name}": the rows of "{chats[0]}" are chats, those of "{strings[0]}" plain text'
        )
        hint = f'"chat": true in /data/{strings[0]} makes turns of strings'
        yield Diagnostic("mixed-forms", message, None, join(stage.at, "data"), hint)


def _is_chat(source: Source, stage: Stage, seen: Mapping[str, Seen]) -> bool | None:
    """Return whether the rows of `source` use the chat template; None if unknown."""
    items = seen[source.name].first if source.name in seen else ()
    first = first_row(items)
    layout = layout_for(stage.method.rows, seen[source.name].columns) if first is not None else None
    if first is None or layout is None:
        return None
    return source.chat or any(isinstance(first.values.get(name), list | dict) for name in layout.columns)


def _unread(plan: Plan, stage: Stage, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield rows that a mix never reaches: an epoch ends with its first exhausted source."""
    mix = plan.data[stage.data]
    if not isinstance(mix, Mix) or mix.until is Until.ALL:
        return
    if any(name not in seen or not seen[name].rows for name in mix.weights):
        return
    if is_streamed(plan.data, mix.name):
        return  # a stream starts again
    counts = {name: seen[name].rows for name in mix.weights}
    first = min(counts, key=lambda name: counts[name] / mix.weights[name])
    drawn = counts[first] / mix.weights[first]
    for name, there in counts.items():
        unread = round(there - drawn * mix.weights[name])
        if unread > UNREAD * there:
            message = (
                f'stage "{stage.name}": an epoch of "{mix.name}" ends when "{first}" is used up: some '
                f'{unread:,} of {there:,} rows of "{name}" are never read'
            )
            hint = f"in proportion to their rows: {listed(f'{n} {c:,}' for n, c in counts.items())}"
            yield Diagnostic("rows-unread", message, None, mix.at, hint, severity=Severity.WARNING)


def _contradiction(stage: Stage, field: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic("contradiction", message, None, join(stage.at, "config", field), hint)


def _rows(plan: Plan, settings: EffectiveConfig, seen: Mapping[str, Seen]) -> int | None:
    """Return the number of the trainer's rows (a pair is two for KTO); None if unknown."""
    stage_data = settings.stage.data
    source, names = plan.data[stage_data], parts_of(plan.data, stage_data)
    if any(name not in seen or not seen[name].is_whole for name in names) or is_streamed(
        plan.data, stage_data
    ):
        return None
    is_unpaired = settings.stage.method.rows is Rows.UNPAIRED_PREFERENCE
    counts = {n: seen[n].rows * (2 if is_unpaired and seen[n].labels is None else 1) for n in names}
    return counts[source.name] if isinstance(source, Source) else shares_and_rows(source, counts)[1]


def _no_step(settings: EffectiveConfig, rows: int, steps: Steps) -> Diagnostic | None:
    """Yield an error if incomplete batches are dropped and no complete one exists."""
    stage, where = settings.stage, join(settings.stage.at, "config")
    if stage.method.online:
        group = group_of(settings)
        prompts = max(1, steps.generation // group)
        if rows >= prompts:
            return None
        message = (
            f'stage "{stage.name}" would take no step: its generation batch of {steps.generation} '
            f"completions takes {prompts} prompts, and the data has {rows:,}"
        )
        hint = f"at most {rows * group} completions: a smaller batch"
        hint += "" if group == 1 else ", or more num_generations"
        fields = ("generation_batch_size", "steps_per_generation", "per_device_train_batch_size")
    else:
        at_once = settings.number("per_device_train_batch_size", 8) * settings.processes
        if not settings.value("dataloader_drop_last") or rows >= at_once:
            return None
        message = (
            f'stage "{stage.name}" would take no step: "dataloader_drop_last" drops its only batch, '
            f"{rows:,} rows of {at_once}"
        )
        hint = f'"per_device_train_batch_size": at most {rows}'
        fields = ("per_device_train_batch_size", "dataloader_drop_last", "")
    place = next((join(where, name) for name in fields if name in stage.config), stage.at)
    return Diagnostic("no-step", message, None, place, hint)


def _short(settings: EffectiveConfig, steps: Steps) -> Diagnostic | None:
    """Yield a warning for a warm-up longer than the stage: the learning rate is never reached."""
    stage, warmup = settings.stage, settings.value("warmup_steps")
    if not isinstance(warmup, int) or warmup < 2 or warmup < steps.total:
        return None
    message = (
        f'"warmup_steps" is {warmup:,}, but stage "{stage.name}" takes {steps.total:,} steps: '
        "it never gets to its learning rate"
    )
    hint = "below 1 it is a share of all steps: 0.1"
    where = join(stage.at, "config", "warmup_steps")
    return Diagnostic("long-warmup", message, None, where, hint, severity=Severity.WARNING)
