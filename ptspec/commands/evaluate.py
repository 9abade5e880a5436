"""`pt eval`: measure runs, stages, adapters or models, or put them side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptspec.commands.options import AllowCode, quiet_libraries, say
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.report.clean import clean

if TYPE_CHECKING:
    from ptspec.evaluation.comparison import Comparison
    from ptspec.evaluation.measurement import Measurement
    from ptspec.evaluation.paired.pairing import Judgement
    from ptspec.evaluation.request import EvaluationRequest
    from ptspec.evaluation.targets import Target
    from ptspec.events import Listener


@dataclass(frozen=True)
class Asked:
    """What is asked of a comparison. `command` is what was typed."""

    prompts: int | None
    by: str | None
    judge: str | None
    show: int
    command: str


class EvalFormat(str, Enum):
    """How `pt eval` tells."""

    TEXT = "text"
    JSON = "json"


def eval(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, stages, adapters or models.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure on these rows; else what is stored is told.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put them side by side, prompt by prompt.")
    ] = False,
    prompts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N of the prompts, the same for all.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Compare for each value of this column, too.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the runs' recipe, or file.py:name; none: no judge."),
    ] = None,
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Show the N biggest changes.")] = 0,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the evaluation files go.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of each response.")] = None,
    format: Annotated[EvalFormat, typer.Option(help="Tables, or one JSON object.")] = EvalFormat.TEXT,
    allow_code: AllowCode = False,
) -> None:
    """Measure runs, stages, adapters or models, or compare them."""
    from ptspec.evaluation.request import evaluate_targets, make_request, write
    from ptspec.events import EvaluationStarted, Event
    from ptspec.report.tables import progress_text

    screen = sys.stderr  # what libraries write there while models are loaded is not shown

    def listen(event: Event) -> None:
        if isinstance(event, EvaluationStarted):
            print(clean(f"{event.stage}: measuring on {event.rows:,} rows"), file=screen, flush=True)

    _must_go_together(compare, data, prompts, by, judge)
    request = make_request(runs, data, compare, output, max_new_tokens, allow_code, prompts)
    if compare:
        _compare(request, listen, Asked(prompts, by, judge, show, context.obj), format)
        return
    with quiet_libraries() if request.held is not None else nullcontext():
        measured = evaluate_targets(request, listen)
        write(request, measured)
    if format is EvalFormat.JSON:
        print(_as_json({one.name: one.metrics for one in measured}))
    else:
        evaluations = [(one.name, one.shown) for one in measured]
        parents = _parents(request.targets)
        said = {words for one in measured if (words := one.settings.accuracy_in_words)}
        accuracy = said.pop() if len(said) == 1 else None
        verdicts = _verdicts(measured, request.targets, parents)
        print(progress_text(evaluations, parents=parents, verdicts=verdicts, accuracy=accuracy), end="")


def _parents(targets: Sequence[Target]) -> dict[str, str | None]:
    """Each policy's parent; none where several runs have stages of one name."""
    names = [target.name for target in targets]
    return {target.name: target.parent for target in targets if names.count(target.name) == 1}


def _verdicts(
    measured: Sequence[Measurement], targets: Sequence[Target], parents: Mapping[str, str | None]
) -> dict[str, dict[str, str]]:
    """What the comparison of each policy with its parent says, stored or made now."""
    from ptspec.evaluation.comparison_store import comparison_of, load_comparison

    by_name = {one.name: one for one in measured}
    found = {}
    for one, target in zip(measured, targets, strict=True):
        parent = by_name.get(parents.get(one.name) or "")
        if parent is None or target.is_reward_model:
            continue
        stored = load_comparison(target.stored) if target.stored else None
        if (compared := comparison_of(parent, one, stored)) is not None:
            found[one.name] = compared.verdicts()
    return found


def _must_go_together(
    compare: bool, data: Path | None, prompts: int | None, by: str | None, judge: str | None
) -> None:
    alone = [name for name, given in (("--by", by), ("--judge", judge)) if given is not None]
    if prompts is not None and data is None:
        alone.append("--prompts")
    if alone and not compare:
        hint = "with --compare, or --prompts with --data" if "--prompts" in alone else "with --compare"
        raise InputError(Diagnostic("wrong-usage", f"{alone[0]} has nothing to work on here", hint=hint))


def _compare(request: EvaluationRequest, listen: Listener, asked: Asked, format: EvalFormat) -> None:
    """All is computed before the first file is written."""
    from ptspec.evaluation.paired.compare import biggest_changes, compare, prompts_of
    from ptspec.evaluation.request import write
    from ptspec.report.changes import telling_metric

    measured, said = _measured(request, listen, asked.judge)
    found = compare(measured, judgement=said, prompts=asked.prompts, by=asked.by)
    metric = telling_metric(found)
    among = prompts_of(measured, asked.prompts)
    changes = biggest_changes(measured[0], measured[-1], metric, asked.show, among) if asked.show else []
    write(request, measured)
    if request.output is not None:
        _write(found, measured, request.output, asked.command)
    if format is EvalFormat.JSON:
        print(_as_json({**as_json(found), "changes": {"metric": metric, "prompts": changes}}))
        return
    print(_text(found, measured), end="")
    if asked.show:
        from ptspec.report.changes import changes_text

        print("\n" + changes_text(changes, metric, (measured[0].name, measured[-1].name)), end="")


def _measured(
    request: EvaluationRequest, listen: Listener, judge: str | None
) -> tuple[list[Measurement], Judgement | None]:
    """The measurements, and what the judge says of them. torch is loaded only where something needs it."""
    from ptspec.evaluation.request import evaluate_targets, judge_name

    name = judge_name(request.targets, judge)
    is_heavy = name is not None or request.held is not None
    with quiet_libraries() if is_heavy else nullcontext():
        if name is None:
            return evaluate_targets(request, listen), None
        from ptspec.evaluation.choose_judge import choose, judgement

        chosen = choose(request.targets, name, request.allow_code)
        measured = evaluate_targets(request, listen)
        return measured, judgement(chosen, measured)


def _text(found: Comparison, measured: Sequence[Measurement]) -> str:
    from ptspec.report.comparison import comparison_text

    return comparison_text(found, measured[0].data.file if measured[0].data else "")


def _write(found: Comparison, measured: Sequence[Measurement], output: Path, command: str) -> None:
    from ptspec.evaluation.comparison_store import COMPARISON
    from ptspec.report.html.write import write_comparison_report
    from ptspec.store.files import whole_file

    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / COMPARISON) as file:
        file.write(_as_json(as_json(found)) + "\n")
    say(f"report   {write_comparison_report(found, measured, output, command)}")


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as a JSON value; each model's sentence in words stands beside it."""
    from ptspec.evaluation import comparison_store
    from ptspec.report.sentence import in_words

    sentences = [in_words(found, b) for b in range(1, len(found.names))]
    return {**comparison_store.as_json(found), "in_words": sentences}


def _as_json(value: object) -> str:
    """Dataclasses as objects, verdicts by their words."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> object:
    return value.value if isinstance(value, Enum) else asdict(value)
