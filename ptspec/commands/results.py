"""The commands that take a run: eval, report, export, verify."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import AllowCode, WeightType, say
from ptspec.diagnostics import Diagnostic, Exit, InputError

if TYPE_CHECKING:
    from ptspec.evaluation.measurement import Measurement


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
    allow_code: AllowCode = False,
) -> None:
    """Measure runs, stages, adapters or models, or compare them."""
    from ptspec.events import EvaluationStarted, Event
    from ptspec.report.tables import progress_text
    from ptspec.run.appraise import appraise, ask

    def listen(event: Event) -> None:
        if isinstance(event, EvaluationStarted):
            say(f"{event.stage}: measuring on {event.rows:,} rows")

    measured = appraise(ask(runs, data, compare, output, max_new_tokens, allow_code), listen)
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


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, finished or not.")],
) -> None:
    """Write the HTML report of a run again, from what lies in its folder."""
    from ptspec.report.html.write import write_run_report

    print(write_run_report(run))


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
    allow_code: AllowCode = False,
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
        told = _exported(run, folder, dtype.value if dtype else None, adapter_only, base, allow_code)
    say(told)


def _exported(
    run: str, folder: Path, dtype: str | None, adapter_only: bool, base: str | None, allow_code: bool
) -> str:
    from ptspec.model.export import export_adapter, export_model
    from ptspec.recipe.sizes import bytes_in_words
    from ptspec.run.allowed import model_spec
    from ptspec.run.appraise import last_of_each

    (target,) = last_of_each([run])
    if target.artifact is None:
        raise InputError(Diagnostic("not-a-model", f"{run} is a base model: nothing was trained on it"))
    if adapter_only:
        size = export_adapter(target.artifact, folder, base)
        return f"{folder}: the adapter of {target.name}, {bytes_in_words(size)}"
    spec = model_spec(target.artifact.weights, target.recipe, allow_code=allow_code)
    done = export_model(target.artifact, folder, dtype, spec)
    lines = [f"{folder}: {target.name} merged, {done.dtype}, {bytes_in_words(done.bytes)}"]
    lines += [f"compared with the adapter over its base: {done.distance:.2g} nats a token apart"]
    if done.from_training is not None and target.adapter.use_qlora:
        apart = f"{done.from_training:.2g} nats a token"
        lines += [f"trained over 4-bit weights; over whole ones the policy is {apart} from that"]
    return "\n".join(lines)


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
