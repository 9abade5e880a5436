"""The report of a comparison: its numbers are those of the comparison."""

import re

import pytest
from support.report_pages import Page, measurement

from ptspec.evaluation.paired.compare import compare
from ptspec.report.html.write import write_comparison_report
from ptspec.report.view.verdicts import WORDS


@pytest.fixture(scope="module")
def measured():
    return [
        measurement(name, better=better, reference="base")
        for name, better in (("a", 0), ("b<i>", 0.2), ("c", 0.9))
    ]


@pytest.fixture(scope="module")
def page(measured, tmp_path_factory):
    output = tmp_path_factory.mktemp("compared")
    return Page(write_comparison_report(compare(measured), measured, output, "pt eval --compare a 'b<i>' c"))


def test_every_value_is_the_comparisons_and_the_evaluations(measured, page):
    by_name = {one.name: one for one in measured}
    assert {cell.policy for cell in page.cells} == {"a", "b<i>", "c"}
    for cell in page.cells:
        if "data-b" not in cell.metric and cell.policy in by_name:
            assert cell.metric in by_name[cell.policy].metrics


def test_differences_intervals_and_words(measured, page):
    found = compare(measured)
    for effect in found.effects:
        label = effect.metric
        rows = [a for t, a in page.tags if t == "tr" and a.get("data-metric") == label]
        assert len(rows) >= 2
        assert f'<data value="{effect.difference.value}">' in page.source
        assert f'<data value="{effect.value_a}">' in page.source
        assert f'data-low="{effect.difference.low}" data-high="{effect.difference.high}"' in page.source
        assert WORDS[effect.verdict] in page.text
    for rate in found.win_rates:
        assert f'<data value="{rate.rate.value}">' in page.source


def test_settings_and_command(page):
    assert "pt eval --compare a 'b<i>' c" in page.text
    assert "16 tokens" in page.text and "data/eval.jsonl" in page.text


def test_no_model_name_is_markup(page):
    assert not [tag for tag, _ in page.tags if tag == "i"]
    assert sorted(tag for tag, _ in page.tags if tag in ("script", "style")) == ["script", "script", "style"]


def test_slices_have_tables_of_their_own_with_the_comparisons_numbers(measured, tmp_path):
    found = compare(measured, by="topic")
    assert len(found.slices) > 1
    page = Page(write_comparison_report(found, measured, tmp_path, "pt eval --by topic"))
    assert [a["href"] for t, a in page.tags if t == "a" and a.get("href") == "#slices"]
    for one in found.slices:
        assert one.value in page.text
        for effect in one.effects:
            for number in (effect.difference.value, effect.value_a, effect.value_b):
                assert f'<data value="{number}">' in page.source
        for rate in one.win_rates:
            assert f'<data value="{rate.rate.value}">' in page.source


def test_without_slices_there_is_no_section_of_them(page):
    assert 'id="slices"' not in page.source


def test_many_policies_are_rows_and_words_are_folded(tmp_path):
    many = [measurement("a", 20, reference="base")]
    many += [measurement(f"b{i}", 20, better=0.9 * (i < 3), reference="base") for i in range(1, 9)]
    found = compare(many)
    page = Page(write_comparison_report(found, many, tmp_path, "pt eval --compare"))
    outcome = page.source.split('id="outcome"')[1].split('id="sides"')[0]
    first = outcome.split("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)', first) == ["a", *(f"b{i}" for i in range(1, 9))]
    assert '<div class="scroll tall"' in first and 'class="lines sortable"' in first
    open_part = re.sub(r"<details.*</details>", "", outcome, flags=re.DOTALL)
    assert "is better at" not in open_part and "b1 is better at" in outcome
    assert "Not shown to be better or worse than a: b3, b4, b5, b6, b7, b8." in page.text
    tested = {e.metric: e for e in found.effects if e.b == 1 and not e.is_described}
    for effect in tested.values():
        assert f'<data value="{effect.value_b}">' in first


def test_answers_are_near_the_top(page):
    sections = [a["id"] for t, a in page.tags if t == "section" and "id" in a]
    assert sections == ["outcome", "sides", "distributions", "settings", "again"]
