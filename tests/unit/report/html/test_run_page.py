"""The report of a run: what it says equals what the folder holds, whatever that is."""

import itertools
import json
import re
from dataclasses import replace
from html import escape, unescape

import pytest
from support.report_pages import HOSTILE, Page, finished_run, measurement, reward_model

from ptspec.diagnostics import InputError
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measurement import trained_by
from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.store import load_measurement
from ptspec.events import Figure, RunFinished, Warned
from ptspec.metrics import RAW_NAMES
from ptspec.recipe.plan import ComputeSpec
from ptspec.report.html.samples import samples
from ptspec.report.html.write import report_whatever_happens, write_run_report
from ptspec.report.view.comparison import pair_view
from ptspec.report.view.measure import measure

LIMIT = 3_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("report") / "made")


@pytest.fixture(scope="module")
def page(run):
    return Page(write_run_report(run))


def stats(run, stage):
    return json.loads((run / stage / "evaluation_stats.json").read_text())["metrics"]


def test_every_number_equals_evaluation_stats(run, page):
    """Exactly in the markup, rounded as the page rounds in what is read; and none is left out."""
    shown = {(cell.policy, cell.metric): cell for cell in page.cells}
    for stage in ("base", "sft", "dpo"):
        for name, figure in shown_stats(run, stage).items():
            cell = shown.pop((stage, name))
            assert (cell.value, cell.low, cell.high) == (figure["value"], figure["low"], figure["high"])
            of_all = [
                Figure(**found)
                for other in ("base", "sft", "dpo")
                if (found := shown_stats(run, other).get(name))
            ]
            words = measure(name, of_all)
            scale = 100 if words.share else 1
            half = 0.5 * 10.0**-words.decimals + 1e-9
            turned = (lambda value: 1 - value) if words.complement else (lambda value: value)
            assert number(cell.text) == pytest.approx(turned(figure["value"]) * scale, abs=half)
            if figure["low"] is not None:
                low, high = map(number, cell.interval.strip("[]").split(", "))
                ends = sorted(turned(figure[end]) * scale for end in ("low", "high"))
                assert [low, high] == pytest.approx(ends, abs=half)
    assert shown == {}


def shown_stats(run, stage):
    """The figures under the names that they are shown by: preference without a reference is raw."""
    names = RAW_NAMES if load_measurement(run / stage).preference_over is None else {}
    return {names.get(name, name): figure for name, figure in stats(run, stage).items()}


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def test_changes_are_those_of_the_paired_comparison(run, page):
    effects = {
        e.metric: e for e in compare([load_measurement(run / "sft"), load_measurement(run / "dpo")]).effects
    }
    accuracy = effects["accuracy"]
    assert f"{accuracy.difference.value * 100:+.1f}" in page.text
    assert accuracy.verdict is Verdict.BETTER
    assert re.search(r"accuracy %, higher is better .*? better", page.text)


def row_of(page, label):
    """The row of the table of all metrics that begins with `label`, as markup."""
    table = page.source.split("All metrics of every policy")[1].split("</table>")[0]
    return next(
        row
        for row in table.split("<tr ")
        if row.split("</th>")[0].endswith(label + " </small>") or f">{label} <" in row
    )


def test_preferences_relative_to_different_policies_are_not_subtracted(page):
    row = row_of(page, "preference accuracy")
    assert "(over base)" in row and "(over sft)" in row
    assert 'class="change good"' not in row and "not shown" not in row and "+" not in row


def test_raw_and_relative_preference_share_no_row_no_axis_and_no_name(page):
    """B17: the base's is by likelihood alone, 98.8 % of another quantity than the stages'."""
    relative, raw = row_of(page, "preference accuracy"), row_of(page, "raw preference")
    assert 'data-policy="base"' not in relative and "not measured" in relative
    assert "<svg" not in relative  # over different policies: no scale that all would be on
    for policy in ("base", "sft", "dpo"):
        assert f'data-policy="{policy}" data-metric="raw_preference"' in raw
    assert "(over base)" not in raw and "(over sft)" not in raw


def test_preference_accuracy_stands_behind_task_accuracy(page):
    metrics = [cell.metric for cell in page.cells if cell.policy == "dpo"]
    assert metrics.index("preference_accuracy") > metrics.index("accuracy")


def test_nothing_that_was_said_is_markup(page):
    assert sorted(tag for tag, _ in page.tags if tag in ("script", "style")) == ["script", "script", "style"]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "base")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028\u2029]", page.source)
    assert "<script>window.hacked = 1</script>" in page.text
    assert "right⟨U+202E⟩to left" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_one_file_that_loads_nothing(page):
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        href = attributes.get("href", "#") or ""
        assert href.startswith(("#", "data:")), href
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "@import" not in page.source and "url(" not in page.source


def test_landmarks_headings_and_tables_for_those_who_listen(page):
    tags = [tag for tag, _ in page.tags]
    assert [tags.count(tag) for tag in ("h1", "main", "nav", "header", "footer")] == [1, 1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in page.tags if t == "a" and a["href"].startswith("#")}
    assert targets <= set(ids)
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
        if tag in ("input", "select"):
            assert attributes["id"] in {a["for"] for t, a in page.tags if t == "label"}


def test_what_was_run_is_reported(page):
    for said in (
        "Supervised fine-tuning", "sft, by continue", "sft, frozen", "train: data/train.jsonl, 96 rows",
        "9.4 s", "745 MB", "torch", "2.13.0", "pt run recipes/made.json --set 'x=<1>'", "/somewhere",
        "cd" * 32, "ef" * 32, "PASS dpo", "WARN dpo style 0.2 ≥ 0.5", "1 of 2 checks passed", "2e-7",
        "LoRA r16, 164 k parameters", "rewards: style",
    ):  # fmt: skip
        assert said in page.text, said


def test_sections_are_in_the_order_a_reader_asks_for_them(page):
    order = [a["href"][1:] for t, a in page.tags if t == "a" and a["href"] not in ("#main",)]
    wanted = ["outcome", "sides", "checks", "stages", "curves", "distributions"]
    wanted += ["cost", "environment", "recipe", "again"]
    assert order == wanted
    sections = [a["id"] for t, a in page.tags if t == "section" and "id" in a]
    assert sections == wanted


def test_errors_are_called_errors_and_checks_pass_or_fail(page):
    for word in ("✓ held", "did not hold", "checks held", "fault"):
        assert word not in page.text.lower()
    assert page.text.index("WARN dpo") < page.text.index("PASS dpo")  # what failed is read first


def test_p_and_further_metrics_are_behind_a_fold(page):
    outcome = page.source.split('id="outcome"')[1].split('id="sides"')[0]
    open_part = re.sub(r"<details.*?</details>", "", outcome, flags=re.DOTALL)
    assert "p, corrected" in outcome and "p, corrected" not in open_part
    assert "distinct" not in open_part and "distinct" in outcome


def test_a_stage_is_reported_by_its_tested_metrics(run, page):
    """Tested first, the rest folded; verdicts are those of the comparison."""
    found = compare([trained_by(load_measurement(run / name), name) for name in ("sft", "dpo")])
    open_part = page.source.split("dpo against sft</h3>")[1].split("<details")[0]
    tested = [unescape(name) for name in re.findall(r'<tr role="row" data-metric="([^"]+)"', open_part)]
    told = pair_view(found, 1).tested
    assert tested == [line.metric for line in told]
    assert sorted(tested) == sorted(e.metric for e in found.effects if not e.is_described)
    for line in told:
        row = open_part.split(f'data-metric="{escape(line.metric)}"', 1)[1].split("</tr>")[0]
        assert f">{line.word}</span>" in row


def test_what_no_policy_has_any_of_is_one_line(made):
    """All-zero rows: a word is enough."""
    none = [replace(row, response="said", refused=False, repetition=0.0) for row in measurement("x").rows]
    for name in ("base", "sft"):
        one = replace(measurement(name), rows=tuple(none), metrics=aggregates(none, seed=1))
        made.base(one) if name == "base" else made.stage(name, "sft", one)
    made.start()
    page = Page(write_run_report(made.write()))
    assert "None of any policy: repetition, refusals, empty." in page.text
    assert not [cell for cell in page.cells if cell.metric in ("repetition", "empty", "refusals")]


def test_headline_curves_are_embedded(page):
    first = page.data["curves"][0]
    assert [curve["label"] for curve in first["headline"]] == ["loss"]
    assert [curve["key"] for curve in first["further"]] == ["grad_norm"]
    assert first["headline"][0]["steps"] == list(range(1, 31))
    assert first["headline"][0]["values"][1] == 1.0


def test_held_out_rows_stand_on_the_axes_of_the_training_and_the_best_step_is_marked(made):
    steps = [{"step": step, "loss": 1 / step} for step in range(1, 7)]
    for step, loss in ((2, 0.6), (4, 0.5), (6, 0.7)):
        steps.append({"step": step, "eval_loss": loss, "eval_runtime": 1.0, "eval_num_tokens": 9})
    made.stage("sft", "sft", None, steps=steps)
    record = made.output / "sft" / "stage.json"
    best = {"step": 4, "metric": "eval_loss", "value": 0.5, "handed_on": True, "stopped_at": 6}
    record.write_text(json.dumps(json.loads(record.read_text()) | {"best": best}))
    made.start()
    page = Page(write_run_report(made.write()))
    curves = page.data["curves"][0]
    (loss,) = [curve for curve in curves["headline"] if curve["key"] == "loss"]
    assert loss["held_out"] == {"steps": [2, 4, 6], "values": [0.6, 0.5, 0.7]} and loss["best"] == 4
    assert [curve["key"] for curve in curves["further"]] == []
    assert "held-out rows, best at step 4" in page.text and "6 logged steps" in page.text
    assert "4 by eval_loss, handed on; stopped early at step 6" in page.text


def test_a_second_time_gives_the_same_bytes(run, page):
    assert write_run_report(run).read_text() == page.source


def test_without_an_evaluation(made):
    made.eval = None
    made.stage("sft", "sft", None)
    made.start()
    made.say("StageFinished", stage="sft")
    made.say("RunFinished", seconds=1.0, stages=["sft"])
    page = Page(write_run_report(made.write()))
    assert "Nothing was measured: the recipe has no eval section" in page.text
    assert page.data["samples"] is None and "Samples" not in page.text


def test_a_run_under_way(made):
    made.base(measurement("base"))
    made.stage("sft", "sft", None, folder=".sft.partial", steps=[{"step": 1, "loss": 1.0}])
    made.stages.append({"name": "dpo", "method": "dpo", "data": "train"})
    made.start()
    made.say("StageStarted", stage="sft", rows=3)
    page = Page(write_run_report(made.write()))
    assert "not finished" in page.text and "not run" in page.text
    assert {cell.policy for cell in page.cells} == {"base"}
    assert page.data["curves"][0]["headline"][0]["values"] == [1.0]


def test_stages_reused_left_from_before_and_of_another_recipe(made):
    made.base(measurement("base"))
    made.stage("a", "sft", measurement("a"))
    made.stage("b", "dpo", measurement("b"), parent="a")
    made.stage("c", "dpo", measurement("c"), parent="a")
    made.stages[-1]["config"] = {"beta": 0.5}
    made.start()
    made.say("StageReused", stage="a", when="2026-11-24T09:00:00+00:00", reason="unchanged")
    page = Page(write_run_report(made.write()))
    for state in ("reused", "done in an earlier session", "of another recipe"):
        assert state in page.text
    assert {cell.policy for cell in page.cells} == {"base", "a", "b"}


def test_a_stage_of_one_process_in_a_recipe_of_several_is_of_this_recipe(made):
    made.base(measurement("base"))
    made.stage("alone", "kto", measurement("alone"), trained_by=ComputeSpec())
    made.stages[-1]["compute"] = {"launcher": "local"}
    made.stage("together", "kto", measurement("together"), trained_by=ComputeSpec("accelerate", 2))
    made.compute = {"launcher": "accelerate", "processes": 2}
    made.start()
    page = Page(write_run_report(made.write()))
    assert "of another recipe" not in page.text
    assert {cell.policy for cell in page.cells} == {"base", "alone", "together"}


def test_stopped_by_a_check(made):
    made.base(measurement("base"))
    made.stage("sft", "sft", measurement("sft"))
    made.start()
    made.say("StageFinished", stage="sft")
    made.say("CheckEvaluated", stage="sft", text="accuracy 0.3 ≥ 0.9", held=False, on_fail="stop")
    page = Page(write_run_report(made.write()))
    assert "stopped by a check" in page.text and "FAIL sft accuracy 0.3 ≥ 0.9 stopped the run" in page.text


def test_a_reward_stage_has_a_table_of_its_own(made):
    made.base(measurement("base"))
    made.stage("scores", "reward", reward_model("scores"))
    made.start()
    page = Page(write_run_report(made.write()))
    cells = [cell for cell in page.cells if cell.policy == "scores"]
    assert [(cell.metric, cell.value) for cell in cells] == [("pair_accuracy", 0.875), ("pair_margin", 0.5)]
    assert "Reward models on held-out pairs" in page.text
    assert page.data["samples"]["policies"] == ["base"]


def test_a_damaged_evaluation_is_said_and_the_rest_is_shown(made):
    made.base(measurement("base"))
    folder = made.stage("sft", "sft", measurement("sft"))
    (folder / "evaluation_rows.jsonl").write_text("{")
    made.start()
    page = Page(write_run_report(made.write()))
    assert "damaged" in page.text
    assert {cell.policy for cell in page.cells} == {"base"}


def test_numbers_that_are_none_and_spikes(made):
    values = [1.0] * 5000
    values[3210], values[17] = 99.0, float("nan")
    made.stage("sft", "sft", None, steps=[{"step": i + 1, "loss": v} for i, v in enumerate(values)])
    made.start()
    page = Page(write_run_report(made.write()))
    curve = page.data["curves"][0]["headline"][0]
    assert len(curve["values"]) <= 600
    assert dict(zip(curve["steps"], curve["values"], strict=True))[3211] == 99.0
    assert "no number at 1 step" in page.text


def test_an_evaluation_of_long_answers_still_fits(made):
    for name in ("base", "sft", "dpo"):
        big = measurement(name, 200)
        big = replace(big, rows=tuple(replace(row, response="<&" * 4000) for row in big.rows))
        if name == "base":
            made.base(big)
        else:
            made.stage(name, name, big)
    made.start()
    path = write_run_report(made.write())
    assert path.stat().st_size < LIMIT
    assert re.search(r"[\d,]+ of 200 prompts", Page(path).text)


def test_samples_keep_the_most_changed_where_not_all_fit(monkeypatch):
    monkeypatch.setattr("ptspec.report.html.samples.BUDGET", 40_000)
    before, after = measurement("a", 200), measurement("b", 200)
    rows = list(after.rows)
    rows[150] = replace(rows[150], rewards={"style": 50.0, "<b>bold</b>": 0.0})
    found = samples([before, replace(after, rows=tuple(rows))])
    numbers = [sample.number for sample in found.samples]
    assert numbers == sorted(numbers) and {1, 2, 151} <= set(numbers) and len(numbers) < 60


def test_a_folder_that_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"is (not a|no) run"):
            write_run_report(folder)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="format 99"):
        write_run_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1, "recipe": [], "data": 3, "stages": null}')
    assert Page(write_run_report(tmp_path)).text.count("not finished") > 0


def test_a_report_that_cannot_be_written_ends_no_run(tmp_path):
    heard = []
    with report_whatever_happens(tmp_path / "gone", heard.append) as reporting:
        reporting(heard.append)(RunFinished(str(tmp_path), 1.0, ("sft",)))
    warned, finished = heard
    assert isinstance(warned, Warned) and "no report was written" in warned.text
    assert finished.report is None


def test_the_last_event_names_the_report(run):
    heard = []
    with report_whatever_happens(run, heard.append) as reporting:
        reporting(heard.append)(RunFinished(str(run), 1.0, ("sft",)))
    assert heard == [RunFinished(str(run), 1.0, ("sft",), str(run / "report.html"))]


def test_the_description_is_not_a_way_in(page):
    assert HOSTILE[1] in page.text
