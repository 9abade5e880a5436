"""Commands that take a recipe: validate, run, plan."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import (
    AllowCode,
    Overrides,
    PlanFormat,
    Recipe,
    say,
    show,
    size_in_bytes,
    tell,
    tell_unchecked,
    time_in_seconds,
)
from ptspec.diagnostics import Diagnostic, Exit, InputError, PtError, Unchecked
from ptspec.launched import Rank, launched
from ptspec.report.diagnostics import Format, as_note, render, summary

if TYPE_CHECKING:
    from ptspec.commands.paper import Paper
    from ptspec.estimate.forecast import Forecast
    from ptspec.recipe.plan import Plan


def validate(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE", help="Recipe files.")],
    overrides: Overrides = None,
    format: Annotated[Format, typer.Option(help="Format of the errors.")] = Format.TEXT,
) -> None:
    """Find the errors of a recipe and its data.

    All that can be found without loading a model, in one go.
    """
    from ptspec.checks.preflight import preflight
    from ptspec.recipe.matrix import names_in_words

    found: list[Diagnostic] = []
    unchecked: list[Unchecked] = []
    faulty = False
    for path in recipes:
        reading = preflight(path, overrides or ())
        found += reading.diagnostics
        unchecked += reading.unchecked
        faulty = faulty or reading.plan is None
        if format is not Format.TEXT:
            notes = map(as_note, reading.unchecked)
            print(render([*reading.diagnostics, *notes], format), end="")
            continue
        tell(reading.diagnostics)
        if reading.plan is not None:
            stages = reading.plan.stages
            chain = " → ".join(names_in_words(stages))
            count = f"{len(stages)} stage{'s' if len(stages) != 1 else ''} ({chain})"
            parts = [f"{path}: valid", count, *filter(None, [summary(reading.diagnostics)])]
            say(" · ".join(parts))
            for note in reading.notes:
                say(note)
    if format is Format.TEXT:
        if faulty:
            say(f"{summary(found)}.")
        tell_unchecked(unchecked)
    if faulty:
        raise typer.Exit(Exit.WRONG_INPUT)


def run(
    context: typer.Context,
    recipe: Recipe,
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's own folder, in place of outputs/NAME.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train every stage anew; set aside what there is.")
    ] = False,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Save and stop after this long: 90s, 30m, 2h.")
    ] = None,
    ignore_checks: Annotated[
        bool, typer.Option("--ignore-checks", help="Go on where a check fails.")
    ] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Make each stage in a process of its own: the same result.")
    ] = False,
    allow_code: AllowCode = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and start nothing.")] = False,
) -> None:
    """Train the stages of a recipe.

    Checks the recipe first, trains its stages in order, and evaluates after each.
    """
    from ptspec.api import run_and_report
    from ptspec.checks.asked_stage import must_be_stage
    from ptspec.checks.code_permission import check_allowed
    from ptspec.library_output import into_log
    from ptspec.report.terminal import listener
    from ptspec.run.one_process import prepare_process
    from ptspec.run.options import Options
    from ptspec.run.ranks import announce, follow, outlive_launcher

    if dry_run:
        _show_plan(recipe, overrides or (), output, fresh=fresh)
        return
    rank = launched()
    if rank is None:
        prepare_process()
    else:
        announce(rank)
        if rank.index > 0:
            follow(rank)
            return
        outlive_launcher()
    with _letting_others_go(rank):
        overrides = [*(overrides or ()), *_as_found(recipe, overrides or (), rank)]
        seconds = None if max_time is None else time_in_seconds(max_time)
        output = None if output is None else output.absolute()
        planned, warnings = _checked(recipe, overrides, output, starts=True)
        must_be_stage(until, planned.stage_names, "--until")
        # Imports the user's files, which may print.
        with into_log(Path(os.devnull)):
            check_allowed(planned, allow_code=allow_code)
        if planned.manifest is not None:
            _tell_differences(planned)
        options = Options(
            until, fresh, seconds, allow_code, context.obj, ignore_checks, isolate, warnings=warnings
        )
        with listener() as listen:
            run_and_report(planned, listen, options, say)


@contextlib.contextmanager
def _letting_others_go(rank: Rank | None) -> Iterator[None]:
    """Wrap the checks of rank 0, so that the other processes do not wait if an error ends it early."""
    from ptspec.run.ranks import dismiss_unmet, have_met

    try:
        yield
    except Exception as error:
        if rank is None or have_met():
            raise
        if isinstance(error, PtError):
            tell(error.diagnostics)  # before waiting for them
        dismiss_unmet(rank)
        if isinstance(error, PtError):
            raise typer.Exit(error.exit) from error
        raise


def _as_found(recipe: Path, overrides: Sequence[str], rank: Rank | None) -> Sequence[str]:
    """Replace the recipe's number of processes by those that a launcher has started (`rank` is one).

    A saved plan or a manifest keeps its own.
    """
    from ptspec.store.rerun import open_run
    from ptspec.store.saved_plan import open_plan

    if rank is None or open_plan(recipe) or open_run(recipe.absolute()) or _asks_for_ray(recipe, overrides):
        return ()
    return ('compute.launcher="accelerate"', f"compute.processes={rank.size}", "compute.nodes=1")


def _asks_for_ray(recipe: Path, overrides: Sequence[str]) -> bool:
    """Return whether the recipe names Ray, which starts its own processes: refused under a launcher."""
    from ptspec.recipe.document import read_document
    from ptspec.recipe.json_pointer import at
    from ptspec.recipe.overrides import override

    try:
        value = override(read_document(recipe), overrides).value
    except InputError:
        return False
    return bool(at(value, "/compute/launcher") == "ray")


def _checked(
    recipe: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    starts: bool = False,
    paper: Paper | None = None,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan of a recipe, of a file saved by `pt plan` or of a manifest, and the warnings.

    Exits on errors.
    """
    from ptspec.checks.manifest import read_again
    from ptspec.checks.preflight import preflight
    from ptspec.run.pinned import with_pinned_data
    from ptspec.store.rerun import enter, open_run
    from ptspec.store.saved_plan import must_be_unchanged, open_plan

    kept, manifest = open_plan(recipe), open_run(recipe.absolute())
    on_paper = paper.overrides if paper is not None else []
    if (overrides or on_paper) and (was := kept or manifest):
        what = "a plan that was kept" if kept else "what a run was"
        option = "--set" if overrides or paper is None else paper.given
        hint = f"give them to the recipe: {was.recipe_file} {option} …"
        raise InputError(Diagnostic("wrong-usage", f"{option} changes {what}", hint=hint))
    if manifest is not None:
        if folder := enter(manifest):
            say(f"in {folder}, where this was run")
        reading = read_again(manifest, output, starts=starts)
    elif kept is not None:
        reading = preflight(kept.recipe_file, kept.overrides, output or kept.output, starts=starts)
    else:
        is_elsewhere = paper is not None and paper.device is not None
        every = [*overrides, *on_paper]
        reading = preflight(recipe, every, output, starts=starts, on_paper=is_elsewhere)
    tell(reading.diagnostics)
    if reading.plan is None:
        say(f"{summary(reading.diagnostics)}." + (" Nothing was started." if starts else ""))
    tell_unchecked(reading.unchecked)
    for note in reading.notes:
        say(note)
    if reading.plan is None:
        raise typer.Exit(Exit.WRONG_INPUT)
    plan = with_pinned_data(reading.plan)
    if kept is not None:
        must_be_unchanged(kept, plan)
    return plan, tuple(map(str, reading.diagnostics))


def _tell_differences(planned: Plan) -> None:
    """Print what differs from the run whose manifest `planned` comes from."""
    from ptspec.model.device import find_device
    from ptspec.store.manifest import open_manifest
    from ptspec.store.rerun import differences

    assert planned.manifest is not None
    manifest = open_manifest(planned.manifest.parent)
    found = differences(manifest, planned, find_device().words)
    say(f"again: the run of {manifest.written}; {'now differs:' if found else 'nothing differs now'}")
    for text in found:
        say(f"  {text}")


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="The run's folder, as for pt run.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="Keep the plan, for pt run FILE.")
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Say whether it fits a GPU of this size: 24GB.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for such a device: H100, A100, RTX-4090, …")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Plan for so many, a device each, on all nodes together.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Machines that they stand on; by default as is usual.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="How they share a model: ddp, fsdp, deepspeed.")
    ] = None,
    format: Annotated[PlanFormat, typer.Option(help="A table, or one JSON object.")] = PlanFormat.TEXT,
) -> None:
    """Show the stages as they would run.

    Reference, rows, tokens, steps, memory, disk, and what is reused; on devices that are elsewhere also what
    a step sends, how long it takes, and where more of them stop paying.
    """
    from ptspec.commands.paper import paper

    size = None if device_memory is None else size_in_bytes(device_memory)
    asked = paper(device, processes, nodes, strategy)
    if keep is not None and asked.given is not None:
        hint = "leave it out, or write it into the recipe's compute"
        raise InputError(Diagnostic("wrong-usage", f"-o keeps what runs here, not {asked.given}", hint=hint))
    found = _show_plan(recipe, overrides or (), output, device_memory=size, format=format, paper=asked)
    if keep is not None:
        from ptspec.store.saved_plan import keep as keep_plan

        stages = {one.stage.name: one.reuse for one in found.stages}
        keep_plan(found.plan, stages, overrides or (), keep)
        say(f"{keep}: written. pt run {keep} runs exactly this")


def _show_plan(
    recipe: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    fresh: bool = False,
    device_memory: int | None = None,
    format: PlanFormat = PlanFormat.TEXT,
    paper: Paper | None = None,
) -> Forecast:
    from ptspec.estimate.forecast import forecast
    from ptspec.report.plan import as_json, as_text

    planned, _ = _checked(recipe, overrides, output, paper=paper)
    cluster = paper.cluster(planned.compute) if paper is not None else None
    found = forecast(planned, device_memory=device_memory, fresh=fresh, cluster=cluster)
    if format is PlanFormat.JSON:
        print(as_json(found))
    else:
        # Lines are not wrapped in a pipe.
        width = shutil.get_terminal_size((10_000, 24)).columns
        show(as_text(found, width).rstrip("\n"))
    return found
