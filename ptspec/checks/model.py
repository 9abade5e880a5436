"""Check the base model before it is loaded: later failures, and settings ignored without a message.

Reads its config, its tokenizer files, and the headers of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ptspec.checks.adapter import check_adapter
from ptspec.checks.architecture import check_architecture
from ptspec.checks.checkpoint import check_checkpoint
from ptspec.checks.held_out import check_held_out
from ptspec.checks.lengths import check_lengths
from ptspec.checks.row_look import RENDERED, look_at_stages
from ptspec.checks.rows_left import check_rows_left
from ptspec.checks.stage_rows import StageRows, first_rows
from ptspec.checks.teacher import check_teachers
from ptspec.checks.template import at_model, check_given_template, check_special_tokens, check_stage_template
from ptspec.data.checks.source_pass import Seen
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.data.tokens.chat_tokenizer import TrainerRefuses
from ptspec.data.tokens.lengths import refused
from ptspec.data.tokens.template import TokenizerFiles, tokenizer_files
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.model.shape_of import shape_of
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Handover, Plan, Stage
from ptspec.recipe.shape import ModelShape, read_config
from ptspec.recipe.sources import Source
from ptspec.store.safetensors_only import conversion_command, pickled_weights


def check_model(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield every error of the plan's model, and of its stages and rows against it.

    Yields nothing for a hub model that was not fetched.
    """
    yield from check_given_template(plan)
    folder = plan.model.folder
    if folder is None or not plan.stages:
        return
    shape: ModelShape | None = None
    try:
        yield from check_architecture(plan, read_config(folder), at_model(plan))
        shape = shape_of(plan.model)
        yield from check_checkpoint(shape, at_model(plan))
    except NoShape as error:
        if plan.model.local:
            yield _no_model(plan, folder, error)
    tokenizer = tokenizer_files(plan.model)
    if tokenizer is None:
        yield _no_tokenizer(plan)
    elif tokenizer.damage is not None:
        yield _damaged_tokenizer(plan, tokenizer.damage)
        tokenizer = None
    rows = StageRows(plan, tokenizer, seen) if tokenizer is not None else None
    for stage in plan.trained:
        yield from _check_stage(plan, stage, shape, rows)
    if rows is not None:
        yield from _check_measured(plan, shape, rows)
    yield from check_teachers(plan, shape, tokenizer)
    unknown = list(check_special_tokens(plan))
    yield from unknown
    if tokenizer is not None and not unknown:
        yield from look_at_stages(plan, tokenizer, shape, seen)
        yield from check_held_out(plan, tokenizer, seen)


def _no_model(plan: Plan, folder: Path, error: NoShape) -> Diagnostic:
    message, hint = f"this folder holds no model: {error}", None
    if (pickle := pickled_weights(folder)) and "safetensors" in str(error):
        message = f"the weights are a pickle ({pickle.name}), which can run code when it is loaded"
        hint = conversion_command(Path(shown(pickle)))
    return Diagnostic("no-weights", message, None, at_model(plan), hint)


def _no_tokenizer(plan: Plan) -> Diagnostic:
    hint = "put the tokenizer's files beside the weights: tokenizer.json, tokenizer_config.json"
    return Diagnostic("no-tokenizer", "this folder holds no tokenizer", None, at_model(plan), hint)


def _damaged_tokenizer(plan: Plan, damage: str) -> Diagnostic:
    message = f"the model's tokenizer.json cannot be read: {damage}"
    return Diagnostic("no-tokenizer", message, None, at_model(plan), "fetch the file again")


def _check_stage(
    plan: Plan, stage: Stage, shape: ModelShape | None, rows: StageRows | None
) -> Iterator[Diagnostic]:
    settings = EffectiveConfig(stage, stage.compute, gpu=False)
    if shape is not None:
        if stage.adapter.use_lora and stage.handover is not Handover.CONTINUE:
            yield from check_adapter(plan, stage, shape)
        yield from _context(settings, shape)
    if rows is not None:
        lacking = list(check_stage_template(plan, stage, rows.tokenizer, rows.seen))
        yield from lacking
        if stage.config.get("assistant_only_loss") and not lacking:
            yield from _without_answer(settings, rows)
        yield from _check_lengths(rows, settings, shape)


def _check_lengths(
    rows: StageRows, settings: EffectiveConfig, shape: ModelShape | None
) -> Iterator[Diagnostic]:
    long = list(check_lengths(rows, settings, shape.context if shape else None))
    yield from long
    if not any(one.severity is Severity.ERROR for one in long):
        yield from check_rows_left(rows, settings)


def _check_measured(plan: Plan, shape: ModelShape | None, rows: StageRows) -> Iterator[Diagnostic]:
    """Check the rows of a stage's `eval_data`: truncated rows, and rows that the template refuses."""
    measured = tuple(filter(None, map(measured_as_learned, plan.stages)))
    for stage in measured:
        yield from _check_lengths(rows, EffectiveConfig(stage, stage.compute, gpu=False), shape)
    if measured:
        looked = look_at_stages(replace(plan, stages=measured), rows.tokenizer, shape, rows.seen)
        yield from (one for one in looked if one.severity is Severity.ERROR)


def measured_as_learned(stage: Stage) -> Stage | None:
    """Return `stage` as if it trained on its `eval_data`; None if it has none.

    The trainer encodes those rows as it encodes training rows.
    """
    if stage.eval_data is None:
        return None
    return replace(stage, name=f"{stage.name} (eval_data)", data=stage.eval_data)


def _without_answer(settings: EffectiveConfig, rows: StageRows) -> Iterator[Diagnostic]:
    """Yield chats without an assistant mark in the template, under `assistant_only_loss`."""
    for source in rows.sources(settings.stage):
        chats = [row for row in first_rows(rows.seen, source)[:RENDERED] if isinstance(row, PlacedRow)]
        read = partial(_refusals, chats, source, settings, rows.tokenizer)
        refusals = rows.once("refusals", source, settings, read)
        if refusals:
            row, error = refusals[0]
            message = f'stage "{settings.stage.name}": the trainer refuses this row: {error}'
            note = f"{len(refusals)} of the first {len(chats)} rows are refused"
            where = Location(shown(row.file), row.line)
            yield Diagnostic("cannot-render", message, where, source.at, notes=(note,))


def _refusals(
    chats: list[PlacedRow], source: Source, settings: EffectiveConfig, tokenizer: TokenizerFiles
) -> list[tuple[PlacedRow, TrainerRefuses]]:
    found = refused(chats, source, settings, tokenizer)
    return [(row, error) for row, error in found if isinstance(error, TrainerRefuses)]


def _context(settings: EffectiveConfig, shape: ModelShape) -> Iterator[Diagnostic]:
    """Yield a length of the recipe that exceeds the model's context."""
    if shape.context is None:
        return
    for field in ("max_length", "max_completion_length"):
        given = settings.stage.config.get(field)
        if isinstance(given, int) and given > shape.context:
            message = f'"{field}" is {given}, but the model was made for {shape.context} tokens'
            where = join(settings.stage.at, "config", field)
            hint = f"at most {shape.context} (max_position_embeddings)"
            yield Diagnostic("beyond-context", message, None, where, hint, severity=Severity.WARNING)


def with_plain_text(plan: Plan) -> Plan:
    """Return `plan` with strings left as plain text if the tokenizer has no chat template."""
    tokenizer = tokenizer_files(plan.model)
    if tokenizer is None or tokenizer.template is not None:
        return plan
    plain = {n: replace(s, chat=False) if isinstance(s, Source) else s for n, s in plan.data.items()}
    return replace(plan, data=plain)
