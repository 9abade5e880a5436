from __future__ import annotations

import math

import pytest

from ptspec.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 k"),
        (61440, "61 k"),
        (999400, "999 k"),
        (999600, "1.0 M"),
        (1020000, "1.0 M"),
        (9960000, "10 M"),
        (135000000, "135 M"),
        (7615000000, "7.6 bn"),
        (999700000, "1.0 bn"),
        (1500000000000, "1.5 T"),
        (2000000000000000, "2000 T"),
    ],
)
def test_parameters(value, text):
    assert words.parameters(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(512, "512 B"), (4_100_000, "4.1 MB"), (58_000_000, "58 MB"), (16_000_000_000, "16 GB")],
)
def test_size(value, text):
    assert words.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.04, "40 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (12.4, "12.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m 00 s"),
        (185, "3 m 05 s"),
        (3599.4, "59 m 59 s"),
        (3599.6, "1 h 00 m"),
        (3720, "1 h 02 m"),
        (86399, "1 d 00 h"),
        (183600, "2 d 03 h"),
        (-1, "0 ms"),
    ],
)
def test_duration(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (59.6, "1 m 00 s"), (185, "3 m 05 s"), (3720, "1 h 02 m")]
)
def test_remaining(seconds, text):
    assert words.remaining(seconds) == text


@pytest.mark.parametrize(
    ("steps", "seconds", "text"),
    [
        (120, 12.4, "9.7 step/s"),
        (30, 96, "3.2 s/step"),
        (1000, 8, "125 step/s"),
        (2, 130, "1 m 05 s/step"),
        (999, 10, "99.9 step/s"),
        (0, 3, "–"),
        (3, 0, "–"),
    ],
)
def test_rate(steps, seconds, text):
    assert words.rate(steps, seconds) == text


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (0.0, ".4f", "0.0000"),
        (2e-07, ".4f", "2e-7"),
        (-2e-07, ".4f", "−2e-7"),
        (0.58, ".2f", "0.58"),
        (-0.0, ".2f", "0.00"),
        (-1.5, ".2f", "−1.50"),
        (41000, ".2f", "41000.00"),
        (123456, ".2f", "1.2e5"),
        (math.nan, ".2f", "nan"),
        (-math.inf, ".2f", "−inf"),
        (0.004, ".2f", "4e-3"),
    ],
)
def test_number(value, spec, text):
    assert words.number(value, spec) == text


@pytest.mark.parametrize(
    ("change", "decimals", "text"),
    [
        (89, 0, "+89"),
        (-0.5, 1, "−0.5"),
        (0.04, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (0, 0, "0"),
        (1234.5, 1, "+1,234.5"),
    ],
)
def test_delta(change, decimals, text):
    assert words.delta(change, decimals) == text


def test_percent_and_counts():
    assert words.percent(0.945) == "94.5 %"
    assert words.percent(0.95, 0) == "95 %"
    assert words.fixed(-1.25, 1) == words.fixed(60.0 - 61.25 - 1e-14, 1) == "−1.3"
    assert words.count(1600) == "1,600"
    assert words.plural(1, "row") == "1 row"
    assert words.plural(0, "row") == "0 rows"
