"""Recipes, runs and comparisons from Python: what the commands do, without a command line.

    import ptspec

    recipe = ptspec.load("recipe.json", overrides={"stages.dpo.config.beta": 0.2})
    for diagnostic in recipe.validate():
        print(diagnostic)
    run = recipe.run(on_event=print)
    model, tokenizer = run.stages["dpo"].policy()
    ptspec.compare("outputs/a", "outputs/b")

Nothing here catches signals, redirects output or changes the environment unless `as_command` asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.events import Event, Listener

if TYPE_CHECKING:
    from ptspec.evaluation.comparison import Comparison
    from ptspec.evaluation.measurement import Measurement
    from ptspec.evaluation.targets import Target
    from ptspec.recipe.plan import Plan
    from ptspec.recipe.resolve import Reading
    from ptspec.run.options import Options

FROM_A_DICT = Path("<recipe>")
"""File name shown for a recipe that was given as a dict."""
WIDTH = 100
"""Columns of the text form of runs and comparisons."""


def load(recipe: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe from a file or from a dict of the same content.

    `overrides`: values by path, as in `pt run --set`. Relative paths of a dict are relative to the working
    directory. Nothing is read here: `validate` and `run` read the recipe.
    """
    texts = [f"{path}={json.dumps(value)}" for path, value in (overrides or {}).items()]
    if isinstance(recipe, Mapping):
        return Recipe(FROM_A_DICT, tuple(texts), json.dumps(recipe, indent=2, ensure_ascii=False))
    return Recipe(Path(recipe), tuple(texts))


def open_run(folder: str | Path) -> Run:
    """Open the run in `folder`, whatever made it. Raises `InputError` if there is none."""
    from ptspec.store.manifest import open_manifest

    open_manifest(Path(folder))
    return Run(Path(folder))


def compare(
    *runs: str | Path,
    data: str | Path | None = None,
    prompts: int | None = None,
    by: str | None = None,
    judge: str | None = None,
    max_new_tokens: int | None = None,
    allow_code: bool = False,
    on_event: Listener | None = None,
) -> Compared:
    """Compare runs, stages, adapters or models, as `pt eval --compare` does.

    Each one after the first is compared with the first, paired by prompt, with 95 % intervals. Without `data`
    the stored measurements are compared and no model is loaded. Raises `InputError` for what cannot be
    compared.
    """
    from ptspec.evaluation.paired.requested import compare_requested
    from ptspec.evaluation.request import make_request

    file = None if data is None else Path(data)
    request = make_request([str(run) for run in runs], file, True, None, max_new_tokens, allow_code, prompts)
    found, measured = compare_requested(request, on_event or _discard, judge, prompts, by)
    return Compared(found, tuple(measured))


def run_and_report(plan: Plan, listener: Listener, options: Options, say: Callable[[str], None]) -> None:
    """Run `plan` and write its report, also if the run fails.

    `say` receives the path of a failed run's report. Raises what `ptspec.run.session.execute` raises.
    """
    from ptspec.report.html.write import report_whatever_happens
    from ptspec.run.session import execute

    with report_whatever_happens(plan.output, say) as reporting:
        execute(plan, reporting(listener), options)


@dataclass(frozen=True)
class Recipe:
    """A recipe: its file, or the `text` of a dict, and the overrides of its values."""

    file: Path
    overrides: tuple[str, ...] = ()
    text: str | None = None

    def validate(self) -> list[Diagnostic]:
        """Return the errors and warnings of the recipe and its data, as `pt validate` lists them.

        Loads no model and imports no torch. `severity` tells an error from a warning.
        """
        return list(self._read().diagnostics)

    def run(
        self,
        *,
        on_event: Listener | None = None,
        output: str | Path | None = None,
        until: str | None = None,
        fresh: bool = False,
        max_seconds: float | None = None,
        allow_code: bool = False,
        ignore_checks: bool = False,
        isolate: bool = False,
        as_command: bool = False,
    ) -> Run:
        """Train and measure the unfinished stages, as `pt run` does, and return the run.

        `on_event` receives the events of `ptspec.events`. `output`: the run's folder instead of outputs/NAME.
        `until`: the last stage. `as_command`: catch signals, redirect library output to run.log, and set
        torch's environment variables, as the command does.

        Raises `InputError` with all errors found before anything starts, `StageError` if a stage fails,
        `CheckError` if a check fails, and `Interrupted` after `max_seconds`.
        """
        from ptspec.checks.asked_stage import must_be_stage
        from ptspec.checks.code_permission import check_allowed
        from ptspec.run.options import Options
        from ptspec.run.pinned import with_pinned_data

        reading = self._read(None if output is None else Path(output).absolute(), starts=True)
        if reading.plan is None:
            raise InputError(*reading.errors)
        plan = with_pinned_data(reading.plan)
        must_be_stage(until, plan.stage_names, "until")
        check_allowed(plan, allow_code=allow_code)
        options = Options(
            until,
            fresh,
            max_seconds,
            allow_code,
            ignore_checks=ignore_checks,
            isolate=isolate,
            embedded=not as_command,
            warnings=tuple(map(str, reading.diagnostics)),
        )
        run_and_report(plan, on_event or _discard, options, lambda text: None)
        return Run(plan.output)

    def _read(self, output: Path | None = None, *, starts: bool = False) -> Reading:
        from ptspec.checks.preflight import preflight

        return preflight(self.file, self.overrides, output, text=self.text, starts=starts)


@dataclass(frozen=True)
class Run:
    """A run's folder, finished or not. Shows its figures in a notebook."""

    folder: Path

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """Return the base, if it was measured, and the finished stages, in order."""
        from ptspec.evaluation.targets import targets
        from ptspec.recipe.plan import BASE

        found = targets([str(self.folder)])
        return {one.name: Stage(one) for one in found if one.name != BASE or one.stored is not None}

    def __str__(self) -> str:
        from ptspec.evaluation.against_parents import against_parents
        from ptspec.report.policies import policies_text
        from ptspec.report.view.policies import policies

        measured = [(one.target, one.measurement) for one in self.stages.values()]
        told = [(target, found) for target, found in measured if found is not None]
        if not told:
            return f"{self.folder}: {', '.join(self.stages) or 'no finished stage'}; nothing was measured"
        aims, found = [target for target, _ in told], [one for _, one in told]
        return policies_text(policies(found, aims, against_parents(found, aims)), WIDTH).rstrip("\n")

    def _repr_html_(self) -> str:
        return _preformatted(str(self))


@dataclass(frozen=True)
class Stage:
    """A finished stage of a run, or its base."""

    target: Target

    @property
    def name(self) -> str:
        """The stage's name in the recipe; "base" for the base model."""
        return self.target.name

    @property
    def folder(self) -> Path | None:
        """Folder of its adapter or weights; None for the base."""
        return None if self.target.artifact is None else Path(self.target.artifact.folder)

    @cached_property
    def measurement(self) -> Measurement | None:
        """The measurement row by row; None if the stage was not measured."""
        from ptspec.evaluation.request import stored_measurement

        return None if self.target.stored is None else stored_measurement(self.target)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics by name, each with `value`, `low` and `high` (95 %); empty if not measured."""
        return {} if self.measurement is None else self.measurement.metrics

    def policy(self, *, allow_code: bool = False) -> Policy:
        """Load the model, in eval mode on this machine's device, and its tokenizer.

        `allow_code`: allow Python code that comes with the model. Raises `InputError` if such code is needed
        and not allowed, or if the model cannot be opened.
        """
        from ptspec.checks.code_permission import model_spec
        from ptspec.model.device import find_device
        from ptspec.model.model_cache import Bases

        spec = model_spec(self.target.model, self.target.recipe, allow_code=allow_code)
        model, base = Bases(spec, find_device()).open(self.target.adapter, self.target.artifact)
        return Policy(model, base.tokenizer)


class Policy(NamedTuple):
    """A transformers or PEFT model, and its tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class Compared:
    """A `comparison` of policies and the `measurements` that it pairs.

    Its text and HTML forms are those of `pt eval --compare`.
    """

    comparison: Comparison
    measurements: tuple[Measurement, ...]

    def __str__(self) -> str:
        from ptspec.report.comparison import comparison_text

        data = self.measurements[0].data
        return comparison_text(self.comparison, data.file if data else "", WIDTH).rstrip("\n")

    def _repr_html_(self) -> str:
        return _preformatted(str(self))


def _preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _discard(event: Event) -> None:
    """Discard events: the default listener."""
