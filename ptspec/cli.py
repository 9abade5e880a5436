"""The command line: reads options, calls one function, prints, picks the exit code.

The only file that imports typer. Modules that load torch are imported inside the commands that need them.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ptspec import __version__
from ptspec.diagnostics import Diagnostic, Exit, InputError, PtError
from ptspec.report.faults import Format, render, summary, wants_colour

if TYPE_CHECKING:
    from ptspec.evaluation.measurement import Measurement
    from ptspec.recipe.plan import Plan

app = typer.Typer(
    name="pt",
    help="Post-training of language models from one JSON recipe.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a value: stages.dpo.config.beta=0.2"),
]


class PlanFormat(str, Enum):
    """How `pt plan` tells."""

    TEXT = "text"
    JSON = "json"


class WeightType(str, Enum):
    """The types that `pt export` writes."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def say(text: str) -> None:
    """Text for people, on stderr."""
    print(text, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program: runs a command and exits with its code; no input ends in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        typed = shlex.join(["pt", *(sys.argv[1:] if arguments is None else arguments)])
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="pt", standalone_mode=False, obj=typed)
        return code if isinstance(code, int) else Exit.DONE
    except PtError as error:
        _tell(error.diagnostics)
        return error.exit
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        return _wrong_usage(error) if hasattr(error, "format_message") else _bug(error)


def _tell(diagnostics: Sequence[Diagnostic]) -> None:
    print(render(diagnostics, Format.TEXT, wants_colour(sys.stderr)), end="", file=sys.stderr)


def _wrong_usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    say(f"pt: error[wrong-usage]: {error.format_message()}")
    if context is not None:
        say(f"     {context.command_path} --help shows how")
    return Exit.WRONG_INPUT


def _bug(error: Exception) -> int:
    if os.environ.get("PT_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    say(f"pt: error[bug]: {type(error).__name__}: {error}")
    say("     this is a bug of ptspec. Please report it with the recipe and the output of the same command")
    say(f"     under PT_DEBUG=1 (ptspec {__version__}, Python {sys.version.split()[0]})")
    return Exit.FAILED


def _version(asked: bool) -> None:
    if asked:
        print(f"ptspec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def validate(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipe files.")],
    overrides: Overrides = None,
    format: Annotated[Format, typer.Option(help="How faults are told.")] = Format.TEXT,
) -> None:
    """Find every fault of a recipe and its data that can be found without loading a model."""
    from ptspec.run.preflight import preflight

    found: list[Diagnostic] = []
    faulty = False
    for path in recipes:
        reading = preflight(path, overrides or ())
        found += reading.diagnostics
        faulty = faulty or reading.plan is None
        if format is not Format.TEXT:
            print(render(reading.diagnostics, format), end="")
            continue
        _tell(reading.diagnostics)
        if reading.plan is not None:
            stages = reading.plan.stages
            chain = " → ".join(stage.name for stage in stages)
            count = f"{len(stages)} stage{'s' if len(stages) != 1 else ''} ({chain})"
            parts = [f"{path}: valid", count, *filter(None, [summary(reading.diagnostics)])]
            say(" · ".join(parts))
    if faulty:
        if format is Format.TEXT:
            say(f"{summary(found)}. Nothing was started.")
        raise typer.Exit(Exit.WRONG_INPUT)


@app.command()
def run(
    context: typer.Context,
    recipe: Recipe,
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's own folder, in place of outputs/NAME.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train finished stages again.")] = False,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Save and stop after this long: 90s, 30m, 2h.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let the recipe run Python that it names.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and start nothing.")] = False,
) -> None:
    """Check a recipe, then train its stages in order, evaluating after each."""
    from ptspec.report.html.write import report_whatever_happens
    from ptspec.report.terminal import listener
    from ptspec.rewards.build import check_ready
    from ptspec.run.options import Options
    from ptspec.run.session import execute

    if dry_run:
        _show_plan(recipe, overrides or (), output, fresh=fresh)
        return
    seconds = None if max_time is None else _seconds(max_time)
    planned = _checked(recipe, overrides or (), output)
    _must_be_one_of(until, [stage.name for stage in planned.stages])
    check_ready(planned, allow_code=allow_code)
    options = Options(until, fresh, seconds, allow_code, context.obj)
    with report_whatever_happens(planned.output, say) as reporting, listener() as listen:
        execute(planned, reporting(listen), options)


def _checked(recipe: Path, overrides: Sequence[str], output: Path | None) -> Plan:
    """The plan of a recipe, or of a file that `pt plan` kept; ends the command where there is a fault."""
    from ptspec.run.planfile import must_be_unchanged, open_plan
    from ptspec.run.preflight import preflight

    kept = open_plan(recipe)
    if kept is None:
        reading = preflight(recipe, overrides, output)
    elif overrides:
        hint = f"give them to the recipe: pt plan {kept.recipe} --set …"
        raise InputError(Diagnostic("wrong-usage", "--set changes a plan that was kept", hint=hint))
    else:
        reading = preflight(kept.recipe, kept.overrides, output or kept.output)
    _tell(reading.diagnostics)
    if reading.plan is None:
        say(f"{summary(reading.diagnostics)}. Nothing was started.")
        raise typer.Exit(Exit.WRONG_INPUT)
    if kept is not None:
        must_be_unchanged(kept, reading.plan)
    return reading.plan


@app.command()
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
    format: Annotated[PlanFormat, typer.Option(help="A table, or one JSON object.")] = PlanFormat.TEXT,
) -> None:
    """Show the stages as they would run: reference, rows, tokens, steps, memory, disk, what is reused."""
    size = None if device_memory is None else _bytes(device_memory)
    planned = _show_plan(recipe, overrides or (), output, device_memory=size, format=format)
    if keep is not None:
        from ptspec.run.planfile import keep as keep_plan

        keep_plan(planned, overrides or (), keep)
        say(f"{keep}: written. pt run {keep} runs exactly this")


def _show_plan(
    recipe: Path,
    overrides: Sequence[str],
    output: Path | None,
    *,
    fresh: bool = False,
    device_memory: int | None = None,
    format: PlanFormat = PlanFormat.TEXT,
) -> Plan:
    from ptspec.report.plan import as_json, as_text
    from ptspec.run.forecast import forecast

    planned = _checked(recipe, overrides, output)
    found = forecast(planned, device_memory=device_memory, fresh=fresh)
    print(as_json(found) if format is PlanFormat.JSON else as_text(found).rstrip("\n"))
    return planned


def _bytes(text: str) -> int:
    """ "24GB", "24 GiB", "80G": bytes."""
    units = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg])(i?)b?", text.strip().lower())
    if found is None or float(found[1]) == 0:
        hint = "a number and a unit: 24GB, 16GiB"
        raise InputError(Diagnostic("wrong-usage", f'--device-memory: "{text}" is no size', hint=hint))
    return int(float(found[1]) * units[f"{found[2]}{found[3]}b"])


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        return float(number) * units[unit]
    except (KeyError, ValueError):
        hint = "a number and a unit: 90s, 30m, 2h"
        raise InputError(Diagnostic("wrong-usage", f'--max-time: "{text}" is no time', hint=hint)) from None


def _must_be_one_of(until: str | None, stages: Sequence[str]) -> None:
    from ptspec.recipe.hints import did_you_mean, listed

    if until is not None and until not in stages:
        hint = did_you_mean(until, stages) or f"stages: {listed(stages)}"
        raise InputError(Diagnostic("unknown-stage", f'--until: there is no stage "{until}"', hint=hint))


@app.command()
def eval(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, stages, adapters or models.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure on these rows; else what is stored is told.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put them side by side, prompt by prompt.")
    ] = False,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the evaluation files go.")] = None,
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Show the N biggest changes.")] = 0,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of each response.")] = None,
) -> None:
    """Measure runs, stages, adapters or models, or compare them."""
    from ptspec.events import EvaluationStarted, Event
    from ptspec.report.tables import progress_text
    from ptspec.run.appraise import appraise, ask

    def listen(event: Event) -> None:
        if isinstance(event, EvaluationStarted):
            say(f"{event.stage}: measuring on {event.rows:,} rows")

    measured = appraise(ask(runs, data, compare, output, max_new_tokens), listen)
    if compare:
        print(_compared(measured, show, output, context.obj), end="")
    else:
        print(progress_text([(one.name, one.shown) for one in measured]), end="")


def _compared(measured: Sequence[Measurement], show: int, output: Path | None, command: str) -> str:
    from ptspec.evaluation.compare import biggest_changes, compare
    from ptspec.report.changes import changes_text, telling_metric
    from ptspec.report.comparison import comparison_text

    found = compare(measured)
    if output is not None:
        from ptspec.report.html.write import write_comparison_report

        say(f"report   {write_comparison_report(found, measured, output, command)}")
    text = comparison_text(found, measured[0].data.file if measured[0].data else "")
    metric = telling_metric(found)
    if not show or metric is None:
        return text
    changes = biggest_changes(measured[0], measured[-1], metric, show)
    return text + "\n" + changes_text(changes, metric, (measured[0].name, measured[-1].name))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, finished or not.")],
) -> None:
    """Write the HTML report of a run again, from what lies in its folder."""
    from ptspec.report.html.write import write_run_report

    print(write_run_report(run))


@app.command()
def init(
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="dpo, or sft_dpo for both; else what the data is for."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="PATH", help="A model's folder or hub id.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="Rows to train on.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the recipe goes.")
    ] = Path("recipe.json"),
) -> None:
    """Write a recipe to start from; without options, over the model and the data that ship with pt."""
    from ptspec.recipe.hints import did_you_mean, listed
    from ptspec.run.starter import CHAINS, starter, write

    if method is not None and method not in CHAINS:
        hint = did_you_mean(method, CHAINS) or f"methods: {listed(CHAINS, len(CHAINS))}"
        raise InputError(Diagnostic("unknown-method", f'there is no method "{method}"', hint=hint))
    made = starter(method, model, data)
    write(made, output)
    chain = " → ".join(stage["name"] for stage in made["stages"])
    say(f"{output}: written ({chain} on {made['data']['train']['path']}). Next: pt validate {output}")


@app.command()
def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run (its last stage), a stage, or an adapter.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    dtype: Annotated[
        WeightType | None, typer.Option(help="Of the merged weights; else that of the base.")
    ] = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Copy the adapter, merge nothing.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the copied adapter names as its base: a hub id.")
    ] = None,
) -> None:
    """Write a stage's policy as one model, merged and compared with its adapter; or the adapter alone."""
    from ptspec.run.noise import into_log, quiet_environment

    if base is not None and not adapter_only:
        raise InputError(Diagnostic("wrong-usage", "--base goes with --adapter-only"))
    if dtype is not None and adapter_only:
        raise InputError(Diagnostic("wrong-usage", "--dtype does not go with --adapter-only"))
    quiet_environment()
    # Libraries have things to say when they are imported and when they load a model.
    with into_log(Path(os.devnull)):
        told = _exported(run, folder, dtype.value if dtype else None, adapter_only, base)
    say(told)


def _exported(run: str, folder: Path, dtype: str | None, adapter_only: bool, base: str | None) -> str:
    from ptspec.model.export import export_adapter, export_model
    from ptspec.report.plan import bytes_in_words
    from ptspec.run.appraise import last_of_each

    (target,) = last_of_each([run])
    if target.artifact is None:
        raise InputError(Diagnostic("not-a-model", f"{run} is a base model: nothing was trained on it"))
    if adapter_only:
        size = export_adapter(target.artifact, folder, base)
        return f"{folder}: the adapter of {target.name}, {bytes_in_words(size)}"
    done = export_model(target.artifact, folder, dtype)
    lines = [f"{folder}: {target.name} merged, {done.dtype}, {bytes_in_words(done.bytes)}"]
    lines += [f"compared with the adapter over its base: {done.distance:.2g} nats a token apart"]
    if done.from_training is not None and target.adapter.use_qlora:
        apart = f"{done.from_training:.2g} nats a token"
        lines += [f"trained over 4-bit weights; over whole ones the policy is {apart} from that"]
    return "\n".join(lines)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
) -> None:
    """Compute the hashes of a run's inputs and outputs again, and say what differs from its manifest."""
    from ptspec.run.verify import verify as verified

    found = verified(run)
    for line in found:
        print(line.text)
    if any(line.differs for line in found):
        raise typer.Exit(Exit.FAILED)


@app.command()
def methods(
    method: Annotated[str | None, typer.Argument(metavar="METHOD", help="Tell all of this one.")] = None,
) -> None:
    """Say what each method is, needs and costs."""
    from ptspec.methods import METHODS, get
    from ptspec.recipe.hints import did_you_mean, listed
    from ptspec.report.methods import screen, table

    if method is not None and method not in METHODS:
        hint = did_you_mean(method, METHODS) or f"methods: {listed(METHODS)}"
        raise InputError(Diagnostic("unknown-method", f'there is no method "{method}"', hint=hint))
    print(table() if method is None else screen(get(method)), end="")


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Copy the schema files here instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of a recipe, in one piece, for editors and other programs."""
    import json

    from ptspec.shipped import bundle, copy

    if output is None:
        print(json.dumps(bundle(), ensure_ascii=False))
        return
    copy("schemas", output)
    say(f'{output}: written. In a recipe: "$schema": "{(output / "recipe.schema.json").as_posix()}"')


if __name__ == "__main__":
    main()
