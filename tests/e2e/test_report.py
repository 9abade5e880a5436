"""The HTML report of real runs and comparisons, by the commands that write it."""

import re
import shutil
import subprocess
import sys

import pytest
from support.small import ROOT, one_stage, pt_loaded, write_recipe

from ptspec.evaluation.store import load_measurement
from ptspec.metrics import RAW_NAMES

pytestmark = pytest.mark.slow


def shown_numbers(path):
    """{(policy, metric): (value, low, high)} of the page's tables."""
    cell = re.compile(
        r'<td [^>]*data-policy="([^"]*)" data-metric="([^"]*)">\s*<span class="main"><data value="([^"]*)">'
        r'[^<]*</data></span> (?:<span class="interval" data-low="([^"]*)" data-high="([^"]*)">)?'
    )
    return {
        (policy, metric): tuple(float(v) if v else None for v in values)
        for policy, metric, *values in cell.findall(path.read_text(encoding="utf-8"))
    }


def stored_numbers(output):
    """{(policy, metric): (value, low, high)} of the evaluations, by the names that are shown."""
    return {
        (folder.name, name): (figure.value, figure.low, figure.high)
        for folder in output.iterdir()
        if (folder / "evaluation_stats.json").is_file()
        for name, figure in load_measurement(folder).shown.items()
    }


def assert_agree(shown, stored):
    """Every number is shown, but for what no policy has any of."""
    left_out = set(stored) - set(shown)
    for _, metric in left_out:
        assert metric in ("empty", "refusals", "repetition", "finished")
        none = 1.0 if metric == "finished" else 0.0  # shown as truncated
        assert all(value == none for (_, name), (value, *_) in stored.items() if name == metric)
    assert shown == {key: figure for key, figure in stored.items() if key not in left_out}


def test_a_run_leaves_a_report_with_the_numbers_of_its_evaluations(small_run):
    report = small_run.output / "report.html"
    assert report.stat().st_size < 3_000_000
    assert f"report   {report}" in small_run.done.stderr
    found = shown_numbers(report)
    assert_agree(found, stored_numbers(small_run.output))
    assert {policy for policy, _ in found} == {"base", "sft", "dpo"}
    text = report.read_text()
    assert f"pt run {small_run.recipe} --output {small_run.output}" in text
    assert ">finished<" in text and "policy = reference" in text


@pytest.fixture
def copied(small_run, tmp_path):
    shutil.copytree(small_run.output, tmp_path / "out")
    (tmp_path / "out" / "report.html").unlink()
    return tmp_path


def test_pt_report_writes_it_again_and_prints_where(copied):
    done = pt_loaded("report", copied / "out")
    assert (done.code, done.stdout) == (0, f"{copied / 'out' / 'report.html'}\n")
    assert_agree(shown_numbers(copied / "out" / "report.html"), stored_numbers(copied / "out"))


def test_pt_report_of_something_else_is_wrong_input(tmp_path):
    done = pt_loaded("report", tmp_path)
    assert done.code == 2 and "is not a run" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_stopped_by_a_check_has_a_report_that_says_so(copied):
    def strict(recipe):
        recipe["stages"][0]["checks"] = [{"metric": "accuracy", "min": 1.01}]

    done = pt_loaded("run", write_recipe(copied, strict), "--output", copied / "out")
    assert done.code == 3, done.stderr
    assert f"report   {copied / 'out' / 'report.html'}" in done.stderr
    text = (copied / "out" / "report.html").read_text()
    assert "stopped by a check" in text and "FAIL</b>" in text and "stopped the run" in text


def test_a_run_of_reused_stages_has_a_report(copied):
    done = pt_loaded("run", write_recipe(copied), "--output", copied / "out")
    assert done.code == 0, done.stderr
    text = (copied / "out" / "report.html").read_text()
    assert text.count('<span class="state good">reused</span>') == 2
    assert_agree(shown_numbers(copied / "out" / "report.html"), stored_numbers(copied / "out"))


def test_without_eval_there_is_still_a_report(copied):
    done = pt_loaded("run", write_recipe(copied, one_stage), "--output", copied / "out")
    assert done.code == 0, done.stderr
    assert (copied / "out" / "report.html").is_file()


def test_a_comparison_with_an_output_leaves_a_report(small_run, tmp_path):
    arguments = [
        "--compare",
        small_run.output / "sft",
        small_run.output / "dpo",
        "--output",
        tmp_path / "both",
    ]
    done = pt_loaded("eval", *arguments)
    assert done.code == 0, done.stderr
    report = tmp_path / "both" / "report.html"
    assert f"report   {report}" in done.stderr
    text = report.read_text()
    shown = re.findall(r'data-policy="([^"]*)" data-metric="([^"]*)"><data value="([^"]*)">', text)
    stored = stored_numbers(small_run.output)
    assert {("sft", "accuracy"), ("dpo", "loss")} <= {(policy, metric) for policy, metric, _ in shown}
    for policy, metric, value in shown:
        if metric not in RAW_NAMES.values():  # by raw likelihood: two references
            assert float(value) == pytest.approx(stored[policy, metric][0], rel=1e-12)
    assert "pt eval --compare" in text
    assert pt_loaded("eval", *arguments).code == 0, "a second time into the same folder"


def test_the_command_line_loads_no_template_engine():
    program = "import sys, ptspec.cli; print([m for m in ('jinja2', 'markupsafe') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
