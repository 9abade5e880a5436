"""Commands that take a run: report, export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptspec.commands.options import AllowCode, WeightType, quiet_libraries, say, show
from ptspec.diagnostics import Diagnostic, Exit, InputError

if TYPE_CHECKING:
    from ptspec.evaluation.targets import Target


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, finished or not.")],
) -> None:
    """Write the HTML report of a run again.

    From what lies in its folder.
    """
    from ptspec.report.html.write import write_run_report

    show(str(write_run_report(run)))


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
    """Write a stage's policy as one model.

    Merged and compared with its adapter, or the adapter alone.
    """
    if base is not None and not adapter_only:
        raise InputError(Diagnostic("wrong-usage", "--base goes with --adapter-only"))
    if dtype is not None and adapter_only:
        raise InputError(Diagnostic("wrong-usage", "--dtype does not go with --adapter-only"))
    from ptspec.evaluation.targets import last_of_each

    (target,) = last_of_each([run])
    with quiet_libraries():
        told = _exported(run, target, folder, dtype.value if dtype else None, adapter_only, base, allow_code)
    say(told)


def _exported(
    run: str,
    target: Target,
    folder: Path,
    dtype: str | None,
    adapter_only: bool,
    base: str | None,
    allow_code: bool,
) -> str:
    from ptspec.model.export_files import export_adapter
    from ptspec.recipe.hints import bytes_in_words

    if target.artifact is None:
        raise InputError(Diagnostic("not-a-model", f"{run} is a base model: nothing was trained on it"))
    if adapter_only:
        size = export_adapter(target.artifact, folder, base)
        return f"{folder}: the adapter of {target.name}, {bytes_in_words(size)}"
    from ptspec.checks.code_permission import model_spec
    from ptspec.model.export import export_model

    spec = model_spec(target.artifact.weights, target.recipe, allow_code=allow_code)
    done = export_model(target.artifact, folder, dtype, spec)
    lines = [f"{folder}: {target.name} merged, {done.dtype}, {bytes_in_words(done.bytes)}"]
    lines += [f"compared with the adapter over its base: {done.distance:.2g} nats a token apart"]
    if done.from_training is not None and target.adapter.use_qlora:
        apart = f"{done.from_training:.2g} nats a token"
        lines += [f"trained over 4-bit weights; over whole ones the policy is {apart} from that"]
    if not target.is_reward_model:
        lines += [f'load     transformers.AutoModelForCausalLM.from_pretrained("{folder}")']
    return "\n".join(lines)


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
) -> None:
    """Say which inputs and outputs of a run have changed.

    Computes their hashes again and compares them with the run's manifest.
    """
    from ptspec.store.verify import verify as verified

    found = verified(run)
    for line in found:
        show(line.text)
    if any(line.differs for line in found):
        raise typer.Exit(Exit.FAILED)
