"""Terminal, page and comparison.json tell one comparison: the same verdicts and figures."""

import json
import re
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_pages import Page, measurement

from ptspec.evaluation.comparison_store import COMPARISON, load_comparison, save_comparison
from ptspec.evaluation.metrics import aggregates
from ptspec.evaluation.paired.compare import compare
from ptspec.report.comparison import comparison_text
from ptspec.report.html.folder import read_run
from ptspec.report.html.results import results
from ptspec.report.html.write import write_comparison_report, write_run_report
from ptspec.report.tables import progress_text


def shaken(seed, name, rows=30):
    """A measurement that differs from the others of its kind at random, some rows of one prompt."""
    rng = np.random.default_rng(seed)
    one = measurement(name, rows)
    drawn = tuple(
        replace(row, correct=bool(rng.random() < rng.choice([0.3, 0.9])), nll=float(rng.gamma(2, 1)),
                tokens=4, prompt=f"p{i // 2}" if seed % 2 else row.prompt)
        for i, row in enumerate(one.rows)
    )  # fmt: skip
    return replace(one, rows=drawn, metrics=aggregates(drawn, seed=1), fingerprint=f"{name} {seed}")


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_screen_page_and_file_agree(tmp_path_factory, seed, rows):
    folder = tmp_path_factory.mktemp("both")
    both = [shaken(seed, "a", rows), shaken(seed + 2, "b", rows)]
    found = compare(both)
    save_comparison(folder, found)
    read = load_comparison(folder)
    assert read == found
    page = Page(write_comparison_report(found, both, folder, "pt eval"))
    screen = comparison_text(found, width=160)
    kept = {e["metric"]: e for e in json.loads((folder / COMPARISON).read_text())["effects"]}
    for effect in found.effects:
        assert kept[effect.metric]["verdict"] == effect.verdict.value
        assert kept[effect.metric]["difference"]["low"] == effect.difference.low
        assert f'<data value="{effect.difference.value}">' in page.source
        is_shown = effect.difference.low is not None and not (
            effect.difference.low <= 0 <= effect.difference.high
        )
        if effect.is_tested:
            assert (effect.p_corrected <= 0.05) == is_shown == (effect.words in ("better", "worse"))
            row = re.search(rf'<tr role="row" data-metric="{effect.metric}".*?</tr>', page.source, re.S)
            assert row and f">{effect.words}</span>" in row.group()
    for word in ("better", "worse"):
        told = [e for e in found.effects if e.verdict.value == word]
        lines = [line for line in screen.splitlines() if re.search(rf"  {word}$", line)]
        assert len(lines) == len(told)


def test_the_page_of_a_run_reads_the_stored_comparison(made):
    base, sft = shaken(1, "base"), shaken(3, "sft")
    made.base(base)
    folder = made.stage("sft", "sft", sft)
    stored = replace(compare([base, sft]), notes=("of the file",))
    save_comparison(folder, stored)
    made.start()
    output = made.write()
    assert "of the file" in Page(write_run_report(output)).text
    policies, _ = results(read_run(output))
    cells = {cell.metric: cell.words for row in policies.rows for cell in row.cells if cell and cell.words}
    assert cells == {e.metric: e.words for e in stored.effects if e.words}
    (folder / COMPARISON).unlink()
    assert "of the file" not in Page(write_run_report(output)).text, "an older run: made again"


def test_the_table_marks_what_the_comparison_calls_worse():
    before, after = shaken(1, "sft"), shaken(3, "dpo")
    worse = replace(after, rows=tuple(replace(r, nll=b.nll + 0.1) for r, b in zip(
        after.rows, before.rows, strict=True)))  # fmt: skip
    found = compare([before, worse])
    assert found.verdicts()["loss"] == "worse"
    table = progress_text([(m.name, m.metrics) for m in (before, worse)], 100,
                          verdicts={"dpo": found.verdicts()})  # fmt: skip
    marked = [line.split()[0] for line in table.splitlines() if "!" in line and not line.startswith("!")]
    assert marked == [m for m in marked if found.verdicts()[m] == "worse"] and "loss" in marked
