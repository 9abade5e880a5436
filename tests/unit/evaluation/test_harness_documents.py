"""Tasks of lm-evaluation-harness in a comparison: paired by document, kept in files."""

from __future__ import annotations

import json

import pytest

from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.harness import _Metric, _told
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.store import DOCUMENTS, load_measurement, write

RIGHT_A = [i % 2 for i in range(60)]
RIGHT_B = [1 if i < 55 else 0 for i in range(60)]


def measured(name: str, right: list[int], first: int = 0) -> Measurement:
    scores = {f"{first + i}-x": float(value) for i, value in enumerate(right)}
    told = _told([_Metric("quiz/acc", sum(right) / len(right), scores),
                  _Metric("quiz/perplexity", 9.0, scores)], seed=1)  # fmt: skip
    rows = tuple(RowMeasurement(str(i), f"p{i}", correct=True) for i in range(8))
    return Measurement(name, rows, told.figures, Settings(1, 8, None, False), documents=told.documents)


def effect(found):
    (one,) = [effect for effect in found.effects if effect.metric == "quiz/acc"]
    return one


def test_documents_are_paired_and_tested_as_mcnemar_does():
    from statsmodels.stats.contingency_tables import mcnemar

    found = effect(compare([measured("a", RIGHT_A), measured("b", RIGHT_B)]))
    both = list(zip(RIGHT_A, RIGHT_B, strict=True))
    table = [[both.count((x, y)) for y in (0, 1)] for x in (0, 1)]
    assert found.rows == 60
    assert found.difference.value == pytest.approx((sum(RIGHT_B) - sum(RIGHT_A)) / 60)
    assert found.p == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue)
    assert found.p > mcnemar(table, exact=True).pvalue  # so far out the normal tail is the longer one
    assert found.verdict is Verdict.BETTER
    assert found.difference.low > 0


def test_the_other_way_round_is_the_negative_and_a_copy_shows_nothing():
    a, b = measured("a", RIGHT_A), measured("b", RIGHT_B)
    forth, back = effect(compare([a, b])), effect(compare([b, a]))
    assert (back.difference.low, back.difference.high) == (-forth.difference.high, -forth.difference.low)
    assert effect(compare([a, measured("copy", RIGHT_A)])).verdict is Verdict.NOT_SHOWN


def test_only_documents_that_both_have_count():
    found = effect(compare([measured("a", RIGHT_A), measured("b", RIGHT_B, first=20)]))
    assert found.rows == 40


def test_a_metric_that_is_no_mean_is_not_paired():
    assert [e.metric for e in compare([measured("a", RIGHT_A), measured("b", RIGHT_B)]).effects
            if "/" in e.metric] == ["quiz/acc"]  # fmt: skip


def test_they_are_told_in_words_and_in_the_page(tmp_path):
    from ptspec.report.comparison import comparison_text
    from ptspec.report.html.write import write_comparison_report

    both = [measured("a", RIGHT_A), measured("b", RIGHT_B)]
    found = compare(both)
    text = comparison_text(found, "data")
    assert "quiz acc" in text
    assert "50.0 %" in text and "91.7 %" in text
    page = write_comparison_report(found, both, tmp_path, "pt eval").read_text()
    assert f'<data value="{effect(found).difference.value}">' in page


def test_kept_in_a_file_of_their_own(tmp_path):
    one = measured("a", RIGHT_A)
    write(tmp_path, one, samples=1)
    assert load_measurement(tmp_path).documents == one.documents
    (tmp_path / DOCUMENTS).write_text(json.dumps({"scores": {"quiz/acc": {"0": "x"}}}))
    with pytest.raises(InputError, match="a score is not a number"):
        load_measurement(tmp_path)
    (tmp_path / DOCUMENTS).unlink()
    assert load_measurement(tmp_path).documents == {}
