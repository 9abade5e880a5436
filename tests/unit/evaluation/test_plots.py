"""The pictures: there, whole, the same bytes for the same numbers, and nothing drawn outside."""

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from ptspec.evaluation import plots
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings, with_shares
from ptspec.events import Figure
from ptspec.methods import get

SETTINGS = Settings(seed=1, max_new_tokens=48, preference_reference="raw likelihood", chat=True)


def measurement(name, shift=0.0):
    rows = tuple(
        RowMeasurement(
            id=str(i),
            prompt=f"q{i}",
            nll=(i % 7 + shift) * 0.8,
            tokens=5,
            response="x",
            response_tokens=1 + i % 48,
        )
        for i in range(60)
    )
    metrics = {
        "accuracy": Figure(0.95, 0.9, 0.99),
        "preference_accuracy": Figure(0.7, 0.6, 0.8),
        "bits_per_byte": Figure(0.6 + shift, 0.5 + shift, 0.7 + shift),
        "finished": Figure(0.9),
        "style": Figure(0.4, 0.3, 0.5),
    }
    return Measurement(name, rows, metrics, SETTINGS)


MODELS = [measurement("base", 2), measurement("sft", 1), measurement("a_rather_long_name_for_a_stage", 0.5)]
STEPS = [
    {"step": i + 1, "loss": 1 / (i + 1), "rewards/margins": i * 0.1, "learning_rate": 1e-3 * (1 - i / 40)}
    for i in range(40)
]


def training(path):
    plots.training_curves(STEPS, get("dpo").headline, path, title="dpo")


def perplexity(path):
    plots.perplexity_distribution(MODELS, path)


def lengths(path):
    plots.response_lengths(MODELS, path)


def comparison(path):
    plots.model_comparison(MODELS, path)


VERDICTS = {
    "sft": {"accuracy": Verdict.BETTER, "bits_per_byte": Verdict.NOT_SHOWN, "style": Verdict.DESCRIBED},
    MODELS[2].name: {"accuracy": Verdict.WORSE, "preference_accuracy": Verdict.WORSE},
}


def comparison_with_verdicts(path):
    plots.model_comparison(MODELS, path, VERDICTS)


DRAW = [training, perplexity, lengths, comparison, comparison_with_verdicts]


@pytest.mark.parametrize("draw", DRAW)
def test_the_same_numbers_give_the_same_bytes(draw, tmp_path):
    draw(tmp_path / "a.png"), draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("draw", DRAW)
def test_no_text_is_cut_off_or_over_another(draw, tmp_path, monkeypatch):
    written = []
    write = Text.draw

    def spy(text, renderer):
        write(text, renderer)
        if text.get_text() and text.get_visible():
            written.append((text.get_text(), text.get_window_extent(renderer), text.get_figure().bbox))

    monkeypatch.setattr(Text, "draw", spy)
    draw(tmp_path / "a.png")
    assert len(written) > 8
    for text, box, whole in written:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1, text
    for (one, a, _), (other, b, _) in itertools.combinations(written, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) < 3, (one, other)


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.training_curves([], (), path, title="x"),
        lambda path: plots.training_curves([{"step": 1, "loss": float("nan")}], (), path, title="x"),
        lambda path: plots.perplexity_distribution([Measurement("a", (), {}, SETTINGS)], path),
        lambda path: plots.response_lengths([], path),
        lambda path: plots.model_comparison([], path),
        lambda path: plots.training_curves(STEPS[:1], (), path, title="one step"),
        lambda path: plots.model_comparison(MODELS[:1], path),
        lambda path: plots.perplexity_distribution(
            [replace(MODELS[0], rows=(replace(MODELS[0].rows[0], nll=0.0),))], path
        ),
        lambda path: plots.perplexity_distribution(
            [replace(MODELS[0], rows=(replace(MODELS[0].rows[0], nll=9e9),))], path
        ),
    ],
)
def test_little_or_nothing_to_draw_is_drawn_too(draw, tmp_path):
    draw(tmp_path / "a.png")
    image = imread(tmp_path / "a.png")
    assert image.shape[1] > 700 and image.min() < 0.5  # something dark is on it


def test_names_with_dollars_and_underscores_are_taken_literally(tmp_path):
    plots.model_comparison([replace(MODELS[0], name="$a_b^$")], tmp_path / "a.png")


def test_importing_the_plots_imports_no_matplotlib():
    code = "import ptspec.evaluation.plots, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def texts_of(draw, path, monkeypatch):
    written = []
    write = Text.draw

    def spy(text, renderer):
        write(text, renderer)
        if text.get_text() and text.get_visible():
            written.append(text.get_text())

    monkeypatch.setattr(Text, "draw", spy)
    draw(path)
    return written


def test_preference_by_raw_likelihood_is_not_drawn_beside_preference_over_a_policy(tmp_path, monkeypatch):
    """B17: the base's 70 % is of another quantity; each of the others says what it is over."""
    over = [replace(m, settings=replace(SETTINGS, preference_reference="base")) for m in MODELS[1:]]
    written = texts_of(
        lambda p: plots.model_comparison([MODELS[0], *over], p), tmp_path / "a.png", monkeypatch
    )
    assert written.count("70 over base") == 2 and "70" not in written
    written = texts_of(lambda p: plots.model_comparison(MODELS, p), tmp_path / "b.png", monkeypatch)
    assert not [text for text in written if "preference" in text]


def test_a_verdict_stands_beside_its_number(tmp_path, monkeypatch):
    written = texts_of(comparison_with_verdicts, tmp_path / "a.png", monkeypatch)
    assert {"95", "95 ▲", "95 ▼"} <= set(written), "base, sft, the third"
    assert any(text.endswith(" ○") for text in written)
    assert any(plots.LEGEND in text for text in written)
    assert not any(
        sign in text for text in texts_of(comparison, tmp_path / "b.png", monkeypatch) for sign in "▲▼○"
    )


def test_what_was_trained_for_comes_first_and_likelihood_last(tmp_path, monkeypatch):
    written = texts_of(comparison, tmp_path / "a.png", monkeypatch)
    titles = [text for text in written if text.split(" (")[0] in ("accuracy", "style", "bits per byte")]
    assert [title.split(" (")[0] for title in titles] == ["accuracy", "style", "bits per byte"]


def test_of_many_models_the_first_and_the_last_are_drawn(tmp_path, monkeypatch):
    many = [replace(MODELS[0], name=f"m{i}") for i in range(100)]
    written = texts_of(lambda p: plots.model_comparison(many, p), tmp_path / "a.png", monkeypatch)
    assert [text for text in written if text.startswith("m") and text[1:].isdigit()] == [
        "m0", *(f"m{i}" for i in range(89, 100))
    ]  # fmt: skip
    assert any("the first and the last 11 of 100 models" in text for text in written)


def test_a_reward_is_in_percent_only_where_each_value_is_0_or_1(tmp_path, monkeypatch):
    def of(values):
        rows = [replace(row, rewards={"style": v}) for row, v in zip(MODELS[0].rows, values, strict=False)]
        return replace(MODELS[0], rows=tuple(rows), metrics=with_shares(MODELS[0].metrics, rows))

    for values, title in (((0.0, 1.0) * 30, "style (%)"), ((0.25, 0.75) * 30, "style")):
        written = texts_of(
            lambda p, v=values: plots.model_comparison([of(v)], p), tmp_path / "a.png", monkeypatch
        )
        assert title in written
