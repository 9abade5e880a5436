"""`pt eval`: measure runs, stages, adapters or models, or put them side by side."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptspec.commands.options import AllowCode, quiet_libraries, say, server_at, show
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.report.clean import clean

if TYPE_CHECKING:
    from ptspec.evaluation.comparison import Comparison
    from ptspec.evaluation.measurement import Measurement
    from ptspec.evaluation.request import EvaluationRequest
    from ptspec.events import Listener
    from ptspec.report.view.policies import Policy


@dataclass(frozen=True)
class Asked:
    """The options of a comparison; `command` is the command line."""

    prompts: int | None
    by: str | None
    judge: str | None
    show: int
    everything: bool
    command: str


class EvalFormat(str, Enum):
    """Output formats of `pt eval`."""

    TEXT = "text"
    JSON = "json"


def eval(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Runs, stages, adapters or models.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure on these rows; else show what is stored.")
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
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Show N prompts whose answers differ.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Tell every metric, with its interval.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the evaluation files go.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of each response.")] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --data: a `vllm serve` that generates the answers."),
    ] = None,
    format: Annotated[EvalFormat, typer.Option(help="Tables, or one JSON object.")] = EvalFormat.TEXT,
    allow_code: AllowCode = False,
) -> None:
    """Measure runs, stages, adapters or models; compare them.

    Without --data it tells what was measured before: the key figures, or with --all every metric.
    """
    from ptspec.evaluation.against_parents import against_parents
    from ptspec.evaluation.request import evaluate_targets, make_request, write
    from ptspec.events import EvaluationStarted, Event, Warned
    from ptspec.report.view.policies import policies

    warned: set[str] = set()
    screen = sys.stderr  # hide what libraries print while loading models

    def listen(event: Event) -> None:
        if isinstance(event, EvaluationStarted):
            by = f", answers by {event.answers_by}" if event.answers_by else ""
            print(clean(f"{event.stage}: measuring on {event.rows:,} rows{by}"), file=screen, flush=True)
        elif isinstance(event, Warned) and event.text not in warned:
            warned.add(event.text)
            print(clean(f"warning: {event.text}"), file=screen, flush=True)

    _must_go_together(compare, data, prompts, by, judge, server)
    request = make_request(
        runs,
        data,
        compare,
        output,
        max_new_tokens,
        allow_code,
        prompts,
        server_at(server) if server else None,
    )
    if compare:
        _compare(request, listen, Asked(prompts, by, judge, show, everything, context.obj), format, runs)
        return
    with quiet_libraries() if request.held is not None else nullcontext():
        measured = evaluate_targets(request, listen)
        compared = against_parents(measured, request.targets)
        write(request, measured, compared)
    if format is EvalFormat.JSON:
        print(_as_json({one.name: one.metrics for one in measured}))
    else:
        print(_told(policies(measured, request.targets, compared), whole=everything), end="")


def _told(policies: Sequence[Policy], *, whole: bool) -> str:
    """Return the key figures, one line per policy, or the table of all metrics."""
    from ptspec.report.policies import policies_text
    from ptspec.report.tables import ProgressTable

    return ProgressTable(policies).plain() if whole else policies_text(policies)


def _must_go_together(
    compare: bool,
    data: Path | None,
    prompts: int | None,
    by: str | None,
    judge: str | None,
    server: str | None,
) -> None:
    if server is not None and data is None:
        message = "--server requires --data: without it the stored measurements are shown"
        raise InputError(Diagnostic("wrong-usage", message, hint="pt eval RUN --data FILE --server URL"))
    alone = [name for name, given in (("--by", by), ("--judge", judge)) if given is not None]
    if prompts is not None and data is None:
        alone.append("--prompts")
    if alone and not compare:
        hint = "with --compare, or --prompts with --data" if "--prompts" in alone else "with --compare"
        raise InputError(Diagnostic("wrong-usage", f"{alone[0]} has nothing to work on here", hint=hint))


def _show_what_follows(stage: str) -> None:
    """Propose a chat with the stage and its export."""
    place = shlex.quote(stage)
    show(f"\nnext     pt chat {place}\n         pt export {place} model")


def _compare(
    request: EvaluationRequest, listen: Listener, asked: Asked, format: EvalFormat, runs: Sequence[str]
) -> None:
    """Compare. Everything is computed before the first file is written."""
    from ptspec.evaluation.paired.answers import answers_differ, changes_to_show
    from ptspec.evaluation.paired.compare import prompts_of
    from ptspec.evaluation.paired.requested import compare_requested, is_heavy
    from ptspec.evaluation.request import write
    from ptspec.report.changes import changes_text, metric_to_show

    with quiet_libraries() if is_heavy(request, asked.judge) else nullcontext():
        found, measured = compare_requested(request, listen, asked.judge, asked.prompts, asked.by)
    among = prompts_of(measured, asked.prompts)
    first, last = measured[0], len(measured) - 1
    answers = {b: answers_differ(first, measured[b], among) for b in range(1, len(measured))}
    metric, changes = changes_to_show(first, measured[last], metric_to_show(found, last), asked.show, among)
    write(request, measured)
    if request.output is not None:
        _write(found, measured, request.output, asked.command)
    if format is EvalFormat.JSON:
        print(_as_json({**as_json(found), "changes": {"metric": metric, "prompts": changes}}))
        return
    print(_text(found, measured, answers, whole=asked.everything), end="")
    if asked.show:
        print("\n" + changes_text(changes, found, metric, answers[last]), end="")
        of_run = request.targets[-1]
        if of_run.run is not None and of_run.artifact is not None and not of_run.is_reward_model:
            _show_what_follows(runs[-1])
    elif any(differ for differ, _ in answers.values()):
        show(f"next     {asked.command} --show 5")


def _text(
    found: Comparison,
    measured: Sequence[Measurement],
    answers: Mapping[int, tuple[int, int]],
    *,
    whole: bool,
) -> str:
    from ptspec.report.comparison import comparison_text

    data = measured[0].data.file if measured[0].data else ""
    return comparison_text(found, data, answers=answers, whole=whole)


def _write(found: Comparison, measured: Sequence[Measurement], output: Path, command: str) -> None:
    from ptspec.evaluation.comparison_store import COMPARISON
    from ptspec.report.html.write import write_comparison_report
    from ptspec.store.files import whole_file

    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / COMPARISON) as file:
        file.write(_as_json(as_json(found)) + "\n")
    say(f"report   {write_comparison_report(found, measured, output, command)}")


def as_json(found: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON value, with each model's summary sentence."""
    from ptspec.evaluation import comparison_store
    from ptspec.report.view.sentence import in_words

    sentences = [in_words(found, b) for b in range(1, len(found.names))]
    return {**comparison_store.as_json(found), "in_words": sentences}


def _as_json(value: object) -> str:
    """Convert dataclasses to objects and verdicts to their words."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> object:
    return value.value if isinstance(value, Enum) else asdict(value)
