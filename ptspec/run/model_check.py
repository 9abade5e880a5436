"""The base model, checked before it is loaded: what would fail, or be passed over without a word, only later.

Reads its config, its tokenizer's files, and the headers of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from ptspec.checks.adapter import check_adapter
from ptspec.checks.architecture import check_architecture
from ptspec.checks.checkpoint import check_checkpoint
from ptspec.data.checks.source_pass import Seen
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.data.tokens.lengths import refused
from ptspec.data.tokens.template import TokenizerFiles, tokenizer_files
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.estimate.settings import Settings
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import Handover, Plan, Source, Stage
from ptspec.recipe.shape import ModelShape, read_config, read_shape
from ptspec.recipe.text import at, join
from ptspec.run.length_check import check_lengths, first_rows, local_sources
from ptspec.run.pickles import pickled_weights, way_out

RENDERED = 50
"""Rows of a source that are put through the chat template, if they are chats."""


def check_model(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Every fault of the plan's local model, and of its stages and rows against it."""
    if not plan.model.local or not plan.stages:
        return
    folder = Path(plan.model.path)
    shape: ModelShape | None = None
    try:
        yield from check_architecture(plan, read_config(folder), _at_model(plan))
        shape = read_shape(folder)
        yield from check_checkpoint(shape, _at_model(plan))
    except NoShape as error:
        yield _no_model(plan, folder, error)
    tokenizer = tokenizer_files(plan.model)
    if tokenizer is None:
        yield _no_tokenizer(plan)
    for stage in plan.stages:
        yield from _check_stage(plan, stage, shape, tokenizer, seen)


def _no_model(plan: Plan, folder: Path, error: NoShape) -> Diagnostic:
    message, hint = f"this folder holds no model: {error}", None
    if (pickle := pickled_weights(folder)) and "safetensors" in str(error):
        message = f"the weights are a pickle ({pickle.name}), which can run code when it is loaded"
        hint = way_out(Path(shown(pickle)))
    return Diagnostic("no-weights", message, None, _at_model(plan), hint)


def _no_tokenizer(plan: Plan) -> Diagnostic:
    hint = "put the tokenizer's files beside the weights: tokenizer.json, tokenizer_config.json"
    return Diagnostic("no-tokenizer", "this folder holds no tokenizer", None, _at_model(plan), hint)


def _at_model(plan: Plan) -> str:
    return "/model" if isinstance(plan.document.get("model"), str) else "/model/path"


def _check_stage(
    plan: Plan,
    stage: Stage,
    shape: ModelShape | None,
    tokenizer: TokenizerFiles | None,
    seen: Mapping[str, Seen],
) -> Iterator[Diagnostic]:
    settings = Settings(stage, plan.compute, gpu=False)
    if shape is not None:
        if stage.adapter.use_lora and stage.handover is not Handover.CONTINUE:
            yield from check_adapter(plan, stage, shape)
        yield from _context(settings, shape)
    if tokenizer is not None:
        yield from _template(plan, stage, tokenizer, seen)
        if tokenizer.template is not None:
            yield from _refused(plan, stage, tokenizer, seen)
        yield from check_lengths(plan, settings, tokenizer, shape.context if shape else None, seen)


def _context(settings: Settings, shape: ModelShape) -> Iterator[Diagnostic]:
    """A length of the recipe's own that is more than the model was made for."""
    if shape.context is None:
        return
    for field in ("max_length", "max_completion_length"):
        given = settings.stage.config.get(field)
        if isinstance(given, int) and given > shape.context:
            message = f'"{field}" is {given}, but the model was made for {shape.context} tokens'
            where = join(settings.stage.at, "config", field)
            hint = f"at most {shape.context} (max_position_embeddings)"
            yield Diagnostic("beyond-context", message, None, where, hint, severity=Severity.WARNING)


def _template(
    plan: Plan, stage: Stage, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]
) -> Iterator[Diagnostic]:
    config = join(stage.at, "config")
    if tokenizer.template is None and (name := _chat_source(plan, stage, seen)):
        message = (
            f'stage "{stage.name}": the rows of "{name}" are chats, and the tokenizer has no chat template'
        )
        hint = '"model": {"chat_template": FILE}'
        yield Diagnostic("no-chat-template", message, None, _at_model(plan), hint)
    elif stage.config.get("assistant_only_loss") and not _marks_answers(tokenizer):
        message = (
            '"assistant_only_loss" needs a chat template with {% generation %}, and the tokenizer\'s has none'
        )
        hint = 'leave it out, or give a template that has it: "model": {"chat_template": FILE}'
        where = join(config, "assistant_only_loss")
        yield Diagnostic("no-generation-marks", message, None, where, hint)


def _chat_source(plan: Plan, stage: Stage, seen: Mapping[str, Seen]) -> str | None:
    """The first source of the stage whose rows are chats, or were asked to be made such."""
    for source in local_sources(plan, stage):
        given = at(plan.document, source.at)
        if isinstance(given, dict) and given.get("chat"):
            return source.name
        first = next((item for item in first_rows(seen, source) if isinstance(item, PlacedRow)), None)
        if first is not None and _is_chat(first):
            return source.name
    return None


def _is_chat(row: PlacedRow) -> bool:
    columns = ("messages", "conversations", "prompt", "chosen", "completion")
    return any(isinstance(row.values.get(name), list) for name in columns)


def _refused(
    plan: Plan, stage: Stage, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]
) -> Iterator[Diagnostic]:
    """Chats that the template refuses: some know no system message, others no tools."""
    for source in local_sources(plan, stage):
        placed = (row for row in first_rows(seen, source) if isinstance(row, PlacedRow))
        chats = list(filter(_is_chat, islice(placed, RENDERED)))
        found = list(refused(chats, source.chat, stage.method.rows, tokenizer))
        if found:
            row, words = found[0]
            message = f'stage "{stage.name}": the chat template refuses this row: {words}'
            note = f"{len(found)} of the first {len(chats)} chats are refused"
            where = Location(shown(row.file), row.line)
            yield Diagnostic("cannot-render", message, where, source.at, notes=(note,))


def _marks_answers(tokenizer: TokenizerFiles) -> bool:
    """Whether the template has the marks, or is one of those that TRL has a version with marks of."""
    if tokenizer.has_generation_markers:
        return True
    spec = find_spec("trl")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    known = [file for folder in folders for file in (folder / "chat_templates").glob("*.jinja")]
    return any(file.read_text("utf-8") == tokenizer.template for file in known)


def with_plain_text(plan: Plan) -> Plan:
    """`plan`, its strings left as they are where the tokenizer has no chat template to make turns with."""
    if not plan.model.local:
        return plan
    tokenizer = tokenizer_files(plan.model)
    if tokenizer is None or tokenizer.template is not None:
        return plan
    plain = {n: replace(s, chat=False) if isinstance(s, Source) else s for n, s in plan.data.items()}
    return replace(plan, data=plain)
