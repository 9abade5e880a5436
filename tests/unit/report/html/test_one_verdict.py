"""Terminal, plain lines, page and comparison.json tell one comparison: the same verdicts and figures."""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.report_pages import Page, measurement

from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.comparison_store import COMPARISON, load_comparison, save_comparison
from ptspec.evaluation.paired.compare import compare
from ptspec.events import RunStarted, StageEvaluated, StageLine, StageStarted
from ptspec.metrics import RAW_NAMES
from ptspec.report import terminal
from ptspec.report.comparison import comparison_text
from ptspec.report.html.folder import read_run
from ptspec.report.html.results import results
from ptspec.report.html.write import write_comparison_report, write_run_report
from ptspec.report.policies import policies_text
from ptspec.report.tables import ProgressTable
from ptspec.report.view.comparison import pair_view
from ptspec.report.view.measure import measure
from ptspec.report.view.policies import Policy
from ptspec.report.view.sentence import measure_in
from ptspec.report.view.verdicts import WORDS

ASCII_TRIANGLES = re.compile("[▲▼]")


def shaken(seed, name, rows=30, reference=None, method=None):
    """A measurement that differs from the others of its kind at random, some rows of one prompt; a reward of
    zeros and ones, and one of fractions."""
    rng = np.random.default_rng(seed)
    one = measurement(name, rows, reference=reference)
    right = rng.choice([0.1, 0.5, 0.95])
    drawn = tuple(
        replace(
            row,
            correct=bool(rng.random() < right),
            nll=float(rng.gamma(2, 1)),
            tokens=4,
            prompt=f"p{i // 2}" if seed % 2 else row.prompt,
            rewards={"style": float(rng.random() < right), "brief": float(rng.random())},
            sample_rewards={"style": float(rng.random() < right)},
            finished=bool(rng.random() < right),
        )
        for i, row in enumerate(one.rows)
    )
    how = replace(one.settings, method=method)
    metrics = aggregates(drawn, seed=1)
    return replace(one, rows=drawn, metrics=metrics, fingerprint=f"{name} {seed}", settings=how)


def policies(parent, child, found, method="dpo"):
    return [
        Policy(parent.name, parent.shown),
        Policy(child.name, child.shown, found.of_stage(), child.preference_over, method),
    ]


def cells_of(line):
    """A line's cells, which two spaces or more part."""
    return re.split(r"\s{2,}", line.strip())


@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([None, "dpo", "sft"]))
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_screen_page_and_file_agree(tmp_path_factory, seed, rows, method):
    folder = tmp_path_factory.mktemp("both")
    a = shaken(seed, "a", rows)
    b = shaken(seed + 2, "b", rows, reference="a", method=method)
    found = compare([a, b])
    save_comparison(folder, found)
    assert load_comparison(folder) == found
    page = Page(write_comparison_report(found, [a, b], folder, "pt eval"))
    screen = comparison_text(found, width=200, whole=True).splitlines()
    table = ProgressTable(policies(a, b, found)).plain(300).splitlines()
    kept = {e["metric"]: e for e in json.loads((folder / COMPARISON).read_text())["effects"]}
    for effect in found.effects:
        shown, saved = measure_in(found, effect.metric), kept[effect.metric]
        assert saved["verdict"] == effect.verdict.value
        assert saved["difference"] == asdict(effect.difference)
        change, word = shown.delta(effect.difference.value), WORDS[effect.verdict]
        interval = shown.delta_interval(effect.difference)

        line = next(
            line for line in screen if line.startswith(shown.label + " " * 3) or _counted(line, shown)
        )
        assert change in cells_of(line) and interval in line
        assert cells_of(line)[-1].startswith(word) if word else not _has_word(line)

        row = re.search(rf'<tr role="row" data-metric="{effect.metric}".*?</tr>', page.source, re.S)
        if shown.is_none([effect.value_a, effect.value_b]):
            none = re.search(r"None in either: ([^.]*)\.", page.text)
            assert row is None and none and shown.label in none[1].split(", ")
            continue
        assert row and f'<data value="{effect.difference.value}">' in row.group()
        assert f">{change}<" in row.group() and interval in row.group()
        assert f">{word}</span>" in row.group() if word else 'class="verdict"' not in row.group()

        if shown.name in b.shown:
            of_stage = next(
                (line for line in table if re.match(rf"{re.escape(shown.label)}\s{{2,}}", line)), ""
            )
            if of_stage:
                assert (effect.verdict.mark or "no mark") in (of_stage + " no mark"), of_stage
                assert change in of_stage.split()
        if effect.is_tested:
            low, high = effect.difference.low, effect.difference.high
            is_shown = not low <= 0 <= high
            assert (effect.p_corrected <= 0.05) == is_shown == (word in ("better", "worse"))


def _counted(line, shown):
    """A metric of which fewer prompts have a value stands with their number: "accuracy at T=1 (64)"."""
    return re.match(rf"{re.escape(shown.label)} \(\d+\)", line)


def _has_word(line):
    return any(word and line.endswith(word) for word in WORDS.values())


@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_stages_line_is_the_difference_of_the_file(seed):
    """Live screen, piped run and `pt eval` write the stored difference, its mark and its word."""
    base, sft = shaken(seed, "base", 40), shaken(seed + 2, "sft", 40, reference="base")
    found = compare([base, sft])
    out = io.StringIO()
    line = StageLine("sft", "dpo", "base", None, None, 10)
    with terminal.listener(out) as listen:
        listen(RunStarted("r", "m", 1, "LoRA", "cpu", "out", (line,), "run.log"))
        listen(StageEvaluated("base", base.shown, 1.0))
        listen(StageStarted("sft", "dpo", "base", None, None, 40, 10))
        listen(StageEvaluated("sft", sft.shown, 1.0, False, found.of_stage(), sft.preference_over))
    piped = next(text for text in out.getvalue().splitlines() if "sft: evaluated" in text)
    told = policies_text(policies(base, sft, found), 300).splitlines()[1]
    for effect in found.effects:
        if effect.metric not in ("accuracy", "style", "brief", "loss"):
            continue
        shown = measure(effect.metric, [base.shown[effect.metric], sft.shown[effect.metric]])
        change, mark = shown.delta(effect.difference.value), effect.verdict.mark
        value = shown.number(sft.shown[effect.metric].value)
        pattern = rf"{shown.brief}\s+{re.escape(value)}\s+{mark}\s*{re.escape(change)}(\s|$)"
        assert re.search(pattern, told), (pattern, told)
        word = f", {WORDS[effect.verdict]}" if mark else ""
        assert f"{shown.brief} {shown.value(sft.shown[effect.metric].value)} ({change}{word})" in piped


def test_a_reward_has_one_unit_everywhere():
    """B21, first-hour 11: the mean of 1/(1+length) was a percentage wherever all means lay in [0, 1]."""
    both = [shaken(1, "a"), shaken(3, "b")]
    found = compare(both)
    assert found.values[0]["style"].is_share and not found.values[0]["brief"].is_share
    screen = comparison_text(found, width=200)
    line = next(line for line in screen.splitlines() if line.startswith("brief "))
    assert "%" not in line.partition("[")[0]
    assert "%" in next(line for line in screen.splitlines() if line.startswith("style "))


def test_the_page_of_a_run_reads_the_stored_comparison(made):
    base, sft = shaken(1, "base"), shaken(3, "sft")
    made.base(base)
    folder = made.stage("sft", "sft", sft)
    stored = replace(compare([base, sft]), notes=("of the file",))
    save_comparison(folder, stored)
    made.start()
    output = made.write()
    assert "of the file" in Page(write_run_report(output)).text
    table, _ = results(read_run(output))
    cells = {
        cell.told.metric: cell.told.word
        for row in table.rows
        for cell in row.cells
        if cell and cell.told.word
    }
    told = {RAW_NAMES.get(e.metric, e.metric): WORDS[e.verdict] for e in stored.effects}
    assert cells == {name: word for name, word in told.items() if word and name in cells} and "loss" in cells
    (folder / COMPARISON).unlink()
    assert "of the file" not in Page(write_run_report(output)).text, "an older run: made again"


def test_raw_preference_and_preference_over_a_reference_are_two_rows_of_the_page(made):
    """B17: 98.8 by raw likelihood, 67.5 over the base, 95.6 over sft stood in one row."""
    made.base(shaken(1, "base"))
    made.stage("sft", "sft", shaken(3, "sft", reference="base"))
    made.start()
    table, _ = results(read_run(made.write()))
    rows = {row.label: row.cells for row in table.rows}
    assert rows["preference accuracy"][0] is None and rows["preference accuracy"][1] is not None
    assert rows["raw preference"][0] is not None


def test_few_prompts_have_no_verdict_anywhere():
    a, b = shaken(1, "a", 3), shaken(3, "b", 3)
    found = compare([a, b])
    assert {line.verdict for line in pair_view(found, 1).tested} == {Verdict.TOO_FEW}
    assert not ASCII_TRIANGLES.search(policies_text(policies(a, b, found), 200))
