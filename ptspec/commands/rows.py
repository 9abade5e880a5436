"""The rows command: print the training rows of each stage, token by token."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import AllowCode, Overrides, PlanFormat, Recipe, say, tell
from ptspec.diagnostics import Diagnostic, Exit, InputError, Severity
from ptspec.report.diagnostics import summary, wants_colour

if TYPE_CHECKING:
    from ptspec.data.chosen_rows import Place
    from ptspec.data.readers.placed import Item
    from ptspec.data.tokens.chat_tokenizer import ChatTokenizer
    from ptspec.recipe.plan import Plan, Stage
    from ptspec.recipe.sources import Source

Chosen = list[tuple["Source", "Item"]]


def rows(
    recipe: Recipe,
    stage: Annotated[str | None, typer.Option(metavar="STAGE", help="Of this stage alone.")] = None,
    count: Annotated[
        int | None, typer.Option("--rows", min=1, metavar="N", help="So many rows of a stage (3).")
    ] = None,
    line: Annotated[
        str | None, typer.Option(metavar="[FILE:]LINE", help="The row on this line of the data.")
    ] = None,
    overrides: Overrides = None,
    format: Annotated[
        PlanFormat, typer.Option(help="Text, or one JSON object a sequence.")
    ] = PlanFormat.TEXT,
    allow_code: AllowCode = False,
) -> None:
    """Show what each stage learns from.

    Rows as the model gets them, the learned part between ▐ and ▌.
    """
    from ptspec.checks.asked_stage import must_be_stage
    from ptspec.data.chosen_rows import place_of

    place = None if line is None else place_of(line)
    plan = _plan(recipe, overrides or ())
    must_be_stage(stage, plan.stage_names, "--stage")
    stages = _asked(plan, stage)
    chosen = _chosen(plan, stages, count, place)
    tokenizer = _tokenizer(plan, allow_code)
    found = [_show(plan, one, tokenizer, chosen[one.name], format) for one in stages if one.name in chosen]
    errors = [told for told in chain(*found) if told.severity is Severity.ERROR]
    if errors:
        say(summary(errors))
        raise typer.Exit(Exit.WRONG_INPUT)


def _asked(plan: Plan, name: str | None) -> list[Stage]:
    """Return the stage called `name`, or all stages.

    Of a matrix the first variant, since all read the same rows.
    """
    first = [one for one in plan.stages if one.variant is None or one.variant.number == 1]
    if name is None:
        return [one for one in first if one.trains]
    found = plan.stage(name)
    if found is not None and found.merge is not None:
        message = f'--stage: "{name}" is a merge, which learns from no rows'
        raise InputError(Diagnostic("wrong-usage", message, hint="pt rows RECIPE shows those of the others"))
    return [found] if found is not None else [one for one in first if one.variant and one.variant.of == name]


def _plan(recipe: Path, overrides: Sequence[str]) -> Plan:
    """Return the recipe's plan without checking data or model, as `pt validate` does."""
    from ptspec.checks.model import with_plain_text
    from ptspec.recipe.resolve import read_recipe

    reading = read_recipe(recipe, overrides)
    tell(reading.diagnostics)
    if reading.plan is None:
        say(summary(reading.diagnostics))
        raise typer.Exit(Exit.WRONG_INPUT)
    return with_plain_text(reading.plan)


def _chosen(plan: Plan, stages: Sequence[Stage], count: int | None, place: Place | None) -> dict[str, Chosen]:
    """Return the rows to show of each stage, without stages that do not read the named file."""
    from ptspec.data.chosen_rows import first_rows, no_such_line, rows_from, sources_of
    from ptspec.data.readers import hub_rows

    sources = {stage.name: sources_of(plan, stage) for stage in stages}
    for source in {one.name: one for one in chain(*sources.values()) if one.hub is not None}.values():
        if hub_rows.first_rows(source) is None:
            say(f'data "{source.name}" is on the hub ({source.hub}), which could not be looked at')
    if place is None:
        return {name: list(first_rows(found, count or 3)) for name, found in sources.items()}
    chosen = {name: rows_from(found, place, count or 1) for name, found in sources.items()}
    if not any(chosen.values()):
        raise InputError(no_such_line(place, list(chain(*sources.values()))))
    return {name: found for name, found in chosen.items() if found}


def _tokenizer(plan: Plan, allow_code: bool) -> ChatTokenizer:
    """Return the tokenizer from its files; transformers' if there is no tokenizer.json."""
    from ptspec.data.tokens.template import tokenizer_files

    spec = plan.model
    files = tokenizer_files(spec) if spec.local else None
    if files is not None and files.can_count:
        return files
    if spec.local and files is None:
        message = f"{spec.path} holds no tokenizer"
        hint = "the tokenizer's files stand beside the weights: tokenizer.json, tokenizer_config.json"
        raise InputError(Diagnostic("no-tokenizer", message, pointer=spec.at, hint=hint))
    from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer
    from ptspec.model.base import load_tokenizer

    trusted = replace(spec, trust_remote_code=spec.trust_remote_code and allow_code)
    try:
        return TransformersTokenizer(load_tokenizer(trusted))
    except Exception as error:  # repository content is arbitrary
        message = f"the tokenizer of {spec.path} cannot be opened: {' '.join(str(error).split())}"
        fetch = None if spec.local else f"fetch it where there is a network: hf download {spec.path}"
        refused = spec.trust_remote_code and not allow_code
        code = "--allow-code lets it run the Python that it brings along" if refused else None
        raise InputError(Diagnostic("no-tokenizer", message, pointer=spec.at, hint=code or fetch)) from error


def _show(
    plan: Plan, stage: Stage, tokenizer: ChatTokenizer, chosen: Chosen, format: PlanFormat
) -> list[Diagnostic]:
    """Print a stage's rows; return their errors, which go to stderr."""
    from ptspec.data.encoded_rows import RowEncoder, stage_notes
    from ptspec.recipe.effective_config import EffectiveConfig
    from ptspec.report.encoded_rows import as_json, as_text, note

    encoder = RowEncoder(plan, EffectiveConfig(stage, stage.compute, gpu=False), tokenizer)
    found = []
    colour = wants_colour(sys.stdout)
    for one in encoder.rows(iter(chosen)):
        if isinstance(one, Diagnostic):
            tell([one])
            found.append(one)
        elif format is PlanFormat.JSON:
            for sequence in one.sequences:
                print(as_json(one, sequence))
        else:
            print(as_text(one, plan, colour))
    for text in stage_notes(encoder.settings):
        if format is PlanFormat.JSON:
            say(f"{stage.name}: {text}")
        else:
            print(note(f"{stage.name}: {text}", colour) + "\n")
    return found
