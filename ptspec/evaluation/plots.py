"""The four plots of a stage: its training, and its comparison with earlier models.

Works on measurements and logged numbers; reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.canvas import FAINT, INK, QUIET, colour, grid, label_width, picture, say, short
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measurement import Measurement, RowMeasurement
from ptspec.events import Figure as Measured
from ptspec.methods.types import Headline
from ptspec.metrics import METRICS, RAW_METRICS, metric
from ptspec.recipe.stage_evaluation import MEASURED, PREFIX

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.float64]

LOSS, RATE = Headline("loss", "loss"), Headline("learning_rate", "learning rate")
MOST_MODELS = 12
NOT_SHOWN = "○"
LEGEND = f"▲▼ better, worse, {NOT_SHOWN} no difference shown (paired, against the parent)"
Verdicts = Mapping[str, Verdict]
NO_VERDICTS: Mapping[str, Verdicts] = {}
SMOOTH_FROM = 12
"""Logged steps from which a smoothed curve is drawn; fewer are drawn as points."""


def training_curves(
    steps: Sequence[Mapping[str, float]], headline: Sequence[Headline], path: Path, *, title: str
) -> None:
    """Plot the loss and the method's headline metrics over the steps, with the learning rate below.

    `steps` are the logged rows, each with "step" and TRL's numbers under TRL's names.
    """
    shown = [LOSS, *(one for one in headline if one.key != LOSS.key)]
    curves = [(one, *_curve(steps, one)) for one in shown]
    curves = [curve for curve in curves if len(curve[1])]
    rates = _curve(steps, RATE)
    columns = max(1, min(3, len(curves)))
    tall = math.ceil(len(curves) / columns)
    logged = sum(MEASURED not in row for row in steps)
    note = f"{logged:,} logged steps" + (", raw and smoothed" if len(steps) >= SMOOTH_FROM else "")
    with picture(path, f"Training of {short(title, 60)}", note, 9, 1.6 + 2.3 * max(1, tall)) as figure:
        if not curves:
            say(figure, "no numbers were logged")
            return
        axes = grid(
            figure, tall + 1, columns, left=0.65, gap=0.62, height_ratios=[1.0] * tall + [0.28], wspace=0.28
        )
        flat = [one for row in axes[:-1] for one in row]
        for one, (label, x, y) in zip(flat, curves, strict=False):
            _draw_curve(one, x, y)
            _draw_held_out(one, *_curve(steps, replace(label, key=f"{PREFIX}{label.key}")))
            one.set_title(label.label, pad=16)
            key = "" if label.key == label.label else label.key
            one.text(0, 1.03, key, transform=one.transAxes, color=QUIET, fontsize=7.5)
        for unused in flat[len(curves) :]:
            unused.remove()
        _draw_rate(axes[-1], rates)


def _draw_held_out(axes: Axes, x: Values, y: Values) -> None:
    """Draw the same metric on held-out rows, if the stage was evaluated during training."""
    if len(x):
        axes.plot(x, y, color=colour(2, ""), linewidth=1.4, marker="o", markersize=3, label="held-out rows")
        axes.legend(fontsize=7.5, frameon=False)


def _curve(steps: Sequence[Mapping[str, float]], of: Headline) -> tuple[Values, Values]:
    points = [(row["step"], of.value(row)) for row in steps if "step" in row and _is_number(of.value(row))]
    x, y = zip(*points, strict=True) if points else ((), ())
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _draw_curve(axes: Axes, x: Values, y: Values) -> None:
    if len(x) < SMOOTH_FROM:
        axes.plot(x, y, color=colour(1, ""), linewidth=1.6, marker="o", markersize=3.5)
    else:
        axes.plot(x, y, color=colour(1, ""), linewidth=0.8, alpha=0.3)
        axes.plot(x, _smooth(y), color=colour(1, ""), linewidth=1.8)
    axes.grid(axis="y")
    axes.margins(x=0.02)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=5)


def _smooth(y: Values) -> Values:
    """Return a centred mean over about an eighth of the steps, truncated at the ends."""
    reach = max(1, len(y) // 16)
    sums = np.cumsum(np.concatenate([[0.0], y]))
    at = np.arange(len(y))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(y))
    result: Values = (sums[high] - sums[low]) / (high - low)
    return result


def _draw_rate(row: Sequence[Axes], rates: tuple[Values, Values]) -> None:
    """Draw the learning rate in one strip across the bottom row."""
    first, last = row[0], row[-1]
    place = first.get_position()
    first.set_position((place.x0, place.y0, last.get_position().x1 - place.x0, place.height))
    for unused in row[1:]:
        unused.remove()
    x, y = rates
    first.plot(x, y, color=QUIET, linewidth=1.2)
    first.set_ylim(0, float(y.max()) * 1.15 if len(y) and y.max() > 0 else 1)
    first.set_yticks(
        [float(y.max())] if len(y) else [], [f"{y.max():.0e}".replace("e-0", "e-")] if len(y) else []
    )
    first.margins(x=0.01)
    first.locator_params(axis="x", nbins=8, integer=True)
    first.set_title("learning rate", fontsize=8.5, color=QUIET)
    first.set_xlabel("optimizer step")


def perplexity_distribution(measurements: Sequence[Measurement], path: Path) -> None:
    """Plot per-row perplexity of the expected answers, log scale, of at most three models.

    The first (the base), the one before the last, and the last.
    """
    shown = _first_before_last(measurements, _perplexity)
    rows = max((len(values) for _, _, values in shown), default=0)
    note = f"{rows:,} held-out rows, expected answers · left is better · the line is the median"
    with picture(path, "Perplexity of each held-out row", note, 8, _ridge_height(len(shown))) as figure:
        if not shown:
            say(figure, "the held-out rows have no expected answers")
            return
        names = [name for name, _, _ in shown]
        top = max(float(values.max()) for _, _, values in shown)
        for axes, (name, index, values) in zip(
            grid(figure, len(shown), 1, left=max(1.4, label_width(names)), gap=0.12, top=0.75),
            shown,
            strict=True,
        ):
            _density(axes[0], values, top, colour(index, name))
            _ridge(axes[0], name, f"median {np.median(values):.3g}", last=name == names[-1])
            _log_ticks(axes[0], top)
        axes[0].set_xlabel("perplexity per token (log scale)")


def _perplexity(row: RowMeasurement) -> float | None:
    return math.exp(min(row.nll / row.tokens, 60.0)) if row.nll is not None and row.tokens else None


def response_lengths(measurements: Sequence[Measurement], path: Path) -> None:
    """Plot the lengths of the greedy responses of at most three models.

    The first (the base), the one before the last, and the last.
    """
    shown = _first_before_last(measurements, lambda row: row.response_tokens)
    most = max((m.settings.max_new_tokens for m in measurements), default=1)
    rows = max((len(values) for _, _, values in shown), default=0)
    note = (
        f"{rows:,} greedy responses, end token included · at most {most} new tokens · the line is the median"
    )
    with picture(path, "Response lengths", note, 8, _ridge_height(len(shown))) as figure:
        if not shown:
            say(figure, "no responses were generated")
            return
        names = [name for name, _, _ in shown]
        for axes, (name, index, values) in zip(
            grid(figure, len(shown), 1, left=max(1.4, label_width(names)), gap=0.12, top=0.75),
            shown,
            strict=True,
        ):
            _histogram(axes[0], values, most, colour(index, name))
            cut = measurements[index].metrics.get("finished")
            text = f"median {np.median(values):g} tokens"
            text += f"\n{100 * (1 - cut.value):.0f} % cut off" if cut and cut.value < 1 else ""
            _ridge(axes[0], name, text, last=name == names[-1])
        axes[0].set_xlabel("tokens")


def _first_before_last(
    measurements: Sequence[Measurement], of: Callable[[RowMeasurement], float | None]
) -> list[tuple[str, int, Values]]:
    """Return (name, index, values) of at most three measurements that have values."""
    last = len(measurements) - 1
    picked = sorted({0, max(0, last - 1), max(0, last)}) if measurements else []
    found = []
    for index in picked:
        values = [value for row in measurements[index].rows if (value := of(row)) is not None]
        if values:
            found.append((measurements[index].name, index, np.asarray(values, dtype=np.float64)))
    return found


def _ridge_height(count: int) -> float:
    return 1.6 + 0.95 * max(1, count)


def _ridge(axes: Axes, name: str, text: str, last: bool) -> None:
    """Set up a band: name and remark at the left, a scale below the last one only."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", labelbottom=last)
    weight = "bold" if last else "normal"
    axes.text(-0.02, 0.78, short(name), transform=axes.transAxes, ha="right", weight=weight, color=INK)
    axes.text(-0.02, 0.68, text, transform=axes.transAxes, ha="right", va="top", color=QUIET, fontsize=8)


def _density(axes: Axes, values: Values, top: float, shade: str) -> None:
    """Draw a Gaussian kernel density of log perplexity, reflected at perplexity 1, over a rug of the rows."""
    logs, end = np.log(values), max(math.log(top) * 1.03, 0.1)
    x = np.linspace(0, end, 400)
    quarter, three = np.quantile(logs, [0.25, 0.75])
    spread = min(float(logs.std()), float(three - quarter) / 1.34) or float(logs.std())
    width = max(0.9 * spread * len(logs) ** -0.2, end / 120)  # Silverman's rule
    near = np.exp(-0.5 * ((x[:, None] - logs) / width) ** 2)
    folded = np.exp(-0.5 * ((x[:, None] + logs) / width) ** 2)
    y = (near + folded).sum(1)
    axes.fill_between(np.exp(x), 0, y, color=shade, alpha=0.3, linewidth=0)
    axes.plot(np.exp(x), y, color=shade, linewidth=1.5)
    axes.plot(values, np.full(len(values), -0.07 * y.max()), "|", color=shade, alpha=0.45, markersize=5)
    middle = float(np.median(logs))
    axes.vlines(math.exp(middle), 0, float(np.interp(middle, x, y)), color=shade, linewidth=1.5)
    axes.set_ylim(-0.14 * y.max(), 1.08 * y.max())
    axes.set_xscale("log")
    axes.set_xlim(1, math.exp(end))


def _log_ticks(axes: Axes, top: float) -> None:
    """Return ticks at 1, 2, 5, 10, …, or at whole decades if there are many."""
    decades = range(0, int(math.log10(top)) + 1, 1 + int(math.log10(top)) // 7)
    steps: tuple[float, ...] = (1, 2, 5) if len(decades) <= 3 else (1,)
    if top < 10:
        steps = (1, 1.2, 1.5, 2, 3, 5, 7) if top >= 1.5 else (1, 1.02, 1.05, 1.1, 1.2, 1.3)
    ticks = [step * 10.0**decade for decade in decades for step in steps if step * 10.0**decade <= top * 1.03]
    axes.set_xticks(
        ticks,
        [f"{tick:,.3g}" if tick < 1e3 else f"{tick:,.0f}" if tick < 1e7 else f"{tick:.0e}" for tick in ticks],
    )
    axes.minorticks_off()


def _histogram(axes: Axes, values: Values, most: int, shade: str) -> None:
    step = max(1, math.ceil(most / 64))
    counts, edges = np.histogram(values, bins=np.arange(0.5, most + step + 0.5, step))
    axes.stairs(counts, edges, fill=True, color=shade, alpha=0.65, linewidth=0)
    axes.axvline(float(np.median(values)), color=shade, linewidth=1.5)
    axes.axvline(most + 0.5, color=FAINT, linewidth=1, linestyle="--")
    axes.set_xlim(0, most + step + 1)
    axes.set_ylim(0, counts.max() * 1.1)


def model_comparison(
    measurements: Sequence[Measurement], path: Path, verdicts: Mapping[str, Verdicts] = NO_VERDICTS
) -> None:
    """Plot accuracies, rewards, bits per byte or loss of all models with 95 % intervals.

    `verdicts`: by model, of its comparison with its parent. Of many models, the first and the last.
    """
    shown = [(i, m) for i, m in enumerate(measurements) if i == 0 or i > len(measurements) - MOST_MODELS]
    names = _compared([m for _, m in shown])
    rows = max(1, math.ceil(len(names) / 3))
    columns = max(1, math.ceil(len(names) / rows))
    height = 0.8 + rows * (0.8 + 0.3 * len(shown))
    note = "held-out rows, with 95 % intervals"
    if verdicts:
        note += f" · {LEGEND}"
    if len(shown) < len(measurements):
        note += f" · the first and the last {len(shown) - 1} of {len(measurements)} models"
    with picture(path, "Models compared", note, 9, height) as figure:
        if not names:
            say(figure, "nothing was measured")
            return
        labels = [m.name for _, m in shown]
        gap = 0.7 / (0.3 * len(shown) + 0.25)
        axes = grid(figure, rows, columns, left=label_width(labels), gap=gap, wspace=0.12, bottom=0.45)
        flat = [one for row in axes for one in row]
        for place, name in enumerate(names):
            _draw_metric(flat[place], name, shown, verdicts, labelled=place % columns == 0)
        for unused in flat[len(names) :]:
            unused.remove()


def _compared(measurements: Sequence[Measurement]) -> list[str]:
    """Return the compared metrics: requested ones first, likelihood last.

    Preference only if it is relative to a policy: by raw likelihood it is another quantity.
    """
    there = dict.fromkeys(name for m in measurements for name in m.shown if name not in RAW_METRICS)
    size = "bits_per_byte" if "bits_per_byte" in there else "loss"
    ours = [name for name in ("accuracy", "preference_accuracy") if name in there]
    rewards = [name for name in there if name not in METRICS]
    return [*ours, *rewards, *([size] if size in there else [])]


def _draw_metric(
    axes: Axes,
    name: str,
    shown: Sequence[tuple[int, Measurement]],
    verdicts: Mapping[str, Verdicts],
    labelled: bool,
) -> None:
    kind = metric(name)
    figures = {at: figure for at, (_, m) in enumerate(shown) if (figure := m.shown.get(name)) is not None}
    is_share = kind.share or all(figure.is_share for figure in figures.values())
    scale = 100.0 if is_share else 1.0
    for place, figure in figures.items():
        index, m = shown[place]
        mark = _mark(verdicts.get(m.name, {}).get(name))
        remark = mark + (f" over {short(m.preference_over or '', 14)}" if kind.relative else "")
        _whisker(axes, place, figure, scale, colour(index, m.name), remark)
    unit = "%" if is_share else kind.unit
    axes.set_title(short(kind.label, 26) + (f" ({unit})" if unit else ""))
    axes.set_ylim(len(shown) - 0.4, -0.75)
    axes.set_yticks(range(len(shown)), [short(m.name) for _, m in shown] if labelled else [])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if is_share:
        axes.set_xlim(-4, 104)
    else:
        axes.margins(x=0.14)
    axes.locator_params(axis="x", nbins=4)


def _mark(verdict: Verdict | None) -> str:
    """Return the sign of a verdict after a number."""
    sign = NOT_SHOWN if verdict is Verdict.NOT_SHOWN else "" if verdict is None else verdict.mark
    return f" {sign}" if sign else ""


def _whisker(axes: Axes, y: float, figure: Measured, scale: float, shade: str, remark: str) -> None:
    if figure.low is not None and figure.high is not None:
        axes.hlines(y, figure.low * scale, figure.high * scale, color=shade, linewidth=2, alpha=0.55)
    x = figure.value * scale
    axes.plot(x, y, "o", color=shade, markersize=6)
    text = (f"{x:,.0f}" if scale == 100 or abs(x) >= 100 else f"{x:.3g}") + remark
    # A remark leads away from the nearer edge of the shares' axis.
    side = "center" if len(remark) < 3 else "right" if x > 50 else "left"
    axes.annotate(text, (x, y), (0, 5), textcoords="offset points", ha=side, color=INK, fontsize=8)
