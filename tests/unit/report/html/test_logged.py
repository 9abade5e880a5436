"""A log that is read as a stream: thin while it is read, no spike lost, damaged lines left out."""

import json
import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptspec.methods import get
from ptspec.report.html.json_lines import BLOCK, read_lines
from ptspec.report.html.logged import POINTS, read_logged


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_point_of_a_short_log(tmp_path):
    logged = read_logged(
        write(tmp_path / "m", [{"step": i, "loss": 1 / i, "epoch": i} for i in range(1, 50)])
    )
    (loss,) = logged.series
    assert logged.rows == 49 and loss.key == "loss"
    assert loss.points == tuple((i, 1 / i) for i in range(1, 50))
    assert (loss.first, loss.last) == ((1, 1.0), (49, 1 / 49))


def test_an_accuracy_of_nothing_but_ties_is_no_point(tmp_path):
    margins = [0.0, 0.0, -0.1, 0.2]
    rows = [
        {"step": i, "rewards/margins": margin, "rewards/accuracies": float(margin > 0)}
        for i, margin in enumerate(margins, 1)
    ]
    series = {one.key: one for one in read_logged(write(tmp_path / "m", rows), get("dpo").headline).series}
    assert series["rewards/accuracies"].points == ((3, 0.0), (4, 1.0))
    assert series["rewards/accuracies"].first == (3, 0.0) and series["rewards/accuracies"].lost == 0
    assert len(series["rewards/margins"].points) == 4


@settings(deadline=None)  # it writes files
@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf]), min_size=1, max_size=3000))
def test_what_is_kept_holds_the_extremes_and_is_few(tmp_path_factory, values):
    path = write(tmp_path_factory.mktemp("log") / "m", [{"step": i, "x": v} for i, v in enumerate(values)])
    (series,) = read_logged(path).series
    finite = [v for v in values if math.isfinite(v)]
    assert len(series.points) <= POINTS + 2
    assert series.lost == len(values) - len(finite)
    assert [step for step, _ in series.points] == sorted(step for step, _ in series.points)
    if finite:
        assert series.lowest[1] == min(finite) and series.highest[1] == max(finite)
        assert {min(finite), max(finite)} <= {value for _, value in series.points}
        assert (series.first[1], series.last[1]) == (finite[0], finite[-1])


def test_what_is_no_number_is_left_out(tmp_path):
    rows = [{"step": 1, "loss": "high", "ok": True, "n": 3, "big": 10**400}, {"step": "2", "n": 4}, {"n": 5}]
    logged = read_logged(write(tmp_path / "m", rows))
    assert [(one.key, one.points) for one in logged.series] == [("n", ((1, 3),))]


@pytest.mark.parametrize(
    "torn", ['{"step": 7', "", "[1", "1] [2", '{"a": 1}, {"b": 2}', '"\\ud800', "nul", "\x00"]
)
def test_a_damaged_line_takes_no_other_with_it(tmp_path, torn):
    before, after = [{"step": i} for i in range(BLOCK - 1)], [{"step": i} for i in range(BLOCK, BLOCK + 9)]
    text = "".join(json.dumps(row) + "\n" for row in before) + torn + "\n"
    (tmp_path / "m").write_text(text + "".join(json.dumps(row) + "\n" for row in after))
    assert list(read_lines(tmp_path / "m")) == before + after


def test_a_file_that_is_none(tmp_path):
    assert list(read_lines(tmp_path)) == [] == list(read_lines(tmp_path / "gone"))
    assert read_logged(tmp_path / "gone").rows == 0


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    """Of four times as many blocks: neither the text nor the rows of more than one are held."""
    monkeypatch.setattr("ptspec.report.html.columns.BLOCK", 200_000)
    monkeypatch.setattr("ptspec.report.html.columns.LONG", 1_000_000_000)
    peaks = []
    for steps in (8_000, 32_000):
        rows = ({"step": i, "loss": 1.0 / (i + 1), "norm": i * 0.5} for i in range(steps))
        path = write(tmp_path / "m", rows)
        read_logged(path)
        tracemalloc.start()
        read_logged(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize(
    "odd", ["", "[1]", '{"step": 3', '{"step": "3", "x": 1}', '{"step": 3, "x": "high"}']
)
def test_long_logs_are_read_as_short_ones(tmp_path, monkeypatch, odd):
    """By pyarrow or by json, whatever line is among them."""
    rows = [{"step": i, "x": i * 1.5 - 9, "whole": i, "some": None if i % 3 else i / 7} for i in range(2000)]
    path = write(tmp_path / "m", rows)
    path.write_text(path.read_text() + odd + "\n" + '{"step": 5000, "x": NaN, "y": 1e-3}\n')
    found = []
    for long in (0, 1_000_000_000):
        monkeypatch.setattr("ptspec.report.html.columns.LONG", long)
        found.append(read_logged(path))
    assert found[0] == found[1]
    assert {one.key for one in found[0].series} == {"x", "whole", "some", "y"}
