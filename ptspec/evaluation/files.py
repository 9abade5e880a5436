"""Write the files of an evaluation beside the measured policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptspec.evaluation import plots, store
from ptspec.evaluation.measurement import Measurement
from ptspec.methods.types import Headline
from ptspec.store.stage_folder import METRICS


def write_evaluation(
    measured: Measurement,
    earlier: Sequence[Measurement],
    folder: Path,
    headline: tuple[Headline, ...],
    samples: int,
    verdicts: Mapping[str, plots.Verdicts] = plots.NO_VERDICTS,
) -> None:
    """Write the files of an evaluation: plots first, the aggregates last, which mark it as complete.

    `verdicts`: by policy, of its comparison with its parent.
    """
    everyone = [*earlier, measured]
    steps = read_metrics(folder / METRICS)
    if steps:
        plots.training_curves(steps, headline, folder / "training_curves.png", title=measured.name)
    plots.perplexity_distribution(everyone, folder / "perplexity_distribution.png")
    plots.response_lengths(everyone, folder / "response_lengths.png")
    plots.model_comparison(everyone, folder / "model_comparison.png", verdicts)
    store.write(folder, measured, samples=samples, previous=earlier)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the logged steps of a stage; [] if nothing was trained."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
