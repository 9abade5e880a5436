"""More policies than fit side by side: they are rows, tables scroll in their box, words are for changes."""

import json
import re
from dataclasses import replace

import pytest
from support.report_pages import MadeRun, Page, measurement

from ptspec.evaluation.comparison_store import save_comparison
from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.store import load_measurement
from ptspec.report.html.curves import POINTS
from ptspec.report.html.write import write_run_report

STAGES = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """sft, then seven dpo stages from it, of which the first two change something."""
    made = MadeRun(tmp_path_factory.mktemp("many") / "made")
    made.base(measurement("base", 20))
    made.stage("sft", "sft", measurement("sft", 20, better=0.3, reference="base"))
    for index in range(1, STAGES):
        better = 0.9 if index <= 2 else 0.3
        made.stage(
            f"dpo_{index}",
            "dpo",
            measurement(f"dpo_{index}", 20, better=better, reference="sft"),
            parent="sft",
        )
    made.start()
    for index in range(1, STAGES):
        for limit in (0.1, 0.2):
            made.say(
                "CheckEvaluated", stage=f"dpo_{index}", text=f"style 0.3 ≥ {limit}", held=True, on_fail="stop"
            )
    made.say("CheckEvaluated", stage="dpo_3", text="accuracy 0.3 ≥ 0.9", held=False, on_fail="warn")
    return made.write()


@pytest.fixture(scope="module")
def page(run):
    return Page(write_run_report(run))


def tables(page):
    return re.findall(r"<table class=\"lines.*?</table>", page.source, flags=re.DOTALL)


def test_policies_are_rows_and_metrics_columns_in_a_box_that_scrolls(page):
    first, further = tables(page)
    heads = re.findall(r'<th scope="col"[^>]*>([^<]+)', first)
    heads = [head.strip() for head in heads]
    assert heads[:2] == ["Policy", "accuracy"] and heads[-2:] == ["loss", "preference accuracy"]
    rows = re.findall(r'<tr><th scope="row">(\w+)', first)
    assert rows == ["base", "sft", *(f"dpo_{index}" for index in range(1, STAGES))]
    assert rows == re.findall(r'<tr><th scope="row">(\w+)', further)
    for table in (first, further):
        before = page.source.split(table)[0]
        assert re.search(
            r'<div class="scroll tall" role="region" tabindex="0" aria-label="[^"]+">\s*$', before
        )
        assert 'class="lines sortable"' in table


def test_every_figure_is_there_with_its_interval(run, page):
    shown = {(cell.policy, cell.metric): cell for cell in page.cells}
    for stage in ("sft", *(f"dpo_{index}" for index in range(1, STAGES))):
        for name, figure in load_measurement(run / stage).metrics.items():
            cell = shown[stage, name]
            assert (cell.value, cell.low, cell.high) == (figure.value, figure.low, figure.high)


def test_only_stages_that_changed_something_have_a_sentence(page):
    outcome = page.source.split('id="outcome"')[1].split('id="sides"')[0]
    said = re.findall(r"<li>(\w+) → (\w+):", outcome)
    assert said == [("base", "sft"), ("sft", "dpo_1"), ("sft", "dpo_2")]
    assert "3 of 8 stages are shown to differ" in page.text


def test_the_details_of_a_stage_and_passed_checks_are_folded(page):
    assert page.source.count('<details class="node">') == STAGES
    checks = page.source.split('id="checks"')[1].split("</section>")[0]
    assert re.sub(r"<details.*?</details>", "", checks, flags=re.DOTALL).count("PASS") == 0
    assert "14 checks passed" in checks and checks.index("WARN") < checks.index("PASS")


def test_stages_of_one_method_are_overlaid(page):
    overlays = [dict(a) for t, a in page.tags if t == "figure" and a.get("class") == "overlay"]
    assert len(overlays) == 1  # the loss of dpo; that of sft is another quantity
    places = [stage["stage"] for stage in page.data["curves"]]
    lines = [(places.index(f"dpo_{index}"), 0) for index in range(1, STAGES)]
    assert [tuple(line) for line in json.loads(overlays[0]["data-over"])] == lines


def test_a_long_chain_is_not_nested(tmp_path):
    made = MadeRun(tmp_path / "made")
    parent = "base"
    for index in range(40):
        made.stage(f"s{index}", "sft", None, parent=parent, steps=[])
        parent = f"s{index}"
    made.start()
    source = Page(write_run_report(made.write())).source
    assert source.split('class="tree"')[1].split("</section>")[0].count("<ol") == 0


def test_the_curves_of_many_stages_share_their_points(tmp_path):
    made = MadeRun(tmp_path / "made")
    steps = [{"step": i, **{f"m{k}": i * k + 0.5 for k in range(20)}} for i in range(1, 400)]
    for index in range(30):
        made.stage(f"s{index}", "sft", None, steps=steps)
    made.start()
    page = Page(write_run_report(made.write()))
    drawn = sum(
        len(c["steps"]) for s in page.data["curves"] for kind in ("headline", "further") for c in s[kind]
    )
    assert 0 < drawn <= POINTS


def test_a_stored_comparison_is_reported_as_it_is(tmp_path):
    """Nothing is resampled for what is stored: the page shows the file's own figure, which no data gives."""
    made = MadeRun(tmp_path / "made")
    before = replace(measurement("base", 20), fingerprint="b")
    after = replace(measurement("sft", 20, better=0.3, reference="base"), fingerprint="s")
    made.base(before)
    folder = made.stage("sft", "sft", after)
    found = compare([before, after])
    effects = tuple(replace(e, difference=replace(e.difference, value=0.12345)) for e in found.effects)
    save_comparison(folder, replace(found, effects=effects))
    made.start()
    source = Page(write_run_report(made.write())).source
    told = len([e for e in effects if e.value_a or e.value_b])
    assert source.count('<data value="0.12345">') == told
