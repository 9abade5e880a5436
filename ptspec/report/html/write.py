"""Write `report.html` of a run or a comparison, atomically."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ptspec import __version__, methods
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import CheckError, Diagnostic, InputError, Location, StageError
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.request import REPORT
from ptspec.events import Event, Listener, RunFinished, Warned
from ptspec.methods.merge import MERGE
from ptspec.store.files import whole_file
from ptspec.store.manifest import MANIFEST


def write_run_report(output: Path) -> Path:
    """Write the report of the run in `output`, from its folder alone.

    Raises `InputError` if it is not a run.
    """
    from ptspec.report.html.curves import curves, overlays
    from ptspec.report.html.distributions import distributions
    from ptspec.report.html.folder import read_run
    from ptspec.report.html.results import results
    from ptspec.report.html.samples import samples
    from ptspec.report.html.tree import tree
    from ptspec.report.view.selection import selection_view

    run_record = read_run(output)
    policies, reward_models = results(run_record)
    trained = [stage for stage in run_record.stages if stage.selection is None]
    drawn, said = curves(trained), samples(run_record.measured)
    data = {"curves": [one.data() for one in drawn], "samples": said.data() if said else None}
    view = {
        "run_record": run_record,
        "tree": tree(run_record),
        "policies": policies,
        "reward_models": reward_models,
        "curves": drawn,
        "overlays": overlays(drawn),
        "distributions": distributions(run_record.measured),
        "samples": said,
        "selections": [
            selection_view(one.selection) for one in run_record.stages if one.selection is not None
        ],
        "titles": {name: methods.get(name).title for name in methods.METHODS} | {MERGE.name: MERGE.title},
    }
    return _write(output, "run.html.j2", data, view)


def write_comparison_report(
    found: Comparison, measured: Sequence[Measurement], output: Path, command: str
) -> Path:
    """Write the report of a comparison; `command` reproduces it."""
    from ptspec.report.html.comparison_view import overview, pairs, slices
    from ptspec.report.html.distributions import distributions
    from ptspec.report.html.samples import samples

    said, compared = samples(measured), pairs(found)
    view = {
        "found": found,
        "measured": measured,
        "pairs": compared,
        "overview": overview(compared),
        "slices": slices(found),
        "distributions": distributions(measured),
        "samples": said,
        "command": command,
    }
    return _write(
        output, "comparison.html.j2", {"curves": [], "samples": said.data() if said else None}, view
    )


def _write(output: Path, template: str, data: Mapping[str, object], view: Mapping[str, object]) -> Path:
    from ptspec.report.html.render import page

    text = page(template, data, version=__version__, **view)
    path = output / REPORT
    try:
        output.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("not-writable", message, Location(str(path)))) from None
    return path


Reporting = Callable[[Listener], Listener]


@contextmanager
def report_whatever_happens(output: Path, say: Callable[[str], None]) -> Iterator[Reporting]:
    """Write a run's report when it finishes, when a check stops it, and when a stage fails.

    Yields a wrapper of listeners that writes it just before the run's last event and names it there; if the
    run ends without that event, `say` receives the path. An error of the report is a message, and does not
    change how the run ends: the exception raised within is raised again.
    """
    try:
        yield lambda listen: _naming_it(listen, output)
    except (CheckError, StageError):
        if (output / MANIFEST).exists():
            path, fault = _attempt(output)
            say(f"report   {shown(path)}" if path else fault)
        raise


def _naming_it(listen: Listener, output: Path) -> Listener:
    def hear(event: Event) -> None:
        if isinstance(event, RunFinished):
            path, fault = _attempt(output)
            if path is None:
                listen(Warned(fault))
            event = replace(event, report=shown(path) if path else None)
        listen(event)

    return hear


def _attempt(output: Path) -> tuple[Path | None, str]:
    """Write the report, or return why it failed. A failed report must not fail the run."""
    try:
        return write_run_report(output), ""
    except Exception as error:
        logging.getLogger("ptspec").exception("the report could not be written")
        return (
            None,
            f"no report was written ({type(error).__name__}: {error}); pt report {shown(output)} tries again",
        )
