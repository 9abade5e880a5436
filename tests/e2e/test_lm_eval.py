"""Tasks of lm-evaluation-harness beside our own metrics: on the policy itself, from a local task file."""

from __future__ import annotations

import itertools
import json
import math
import re

import pytest
from support.small import ROOT, pt_loaded, write_recipe

from ptspec.metrics import Better, metric

TASK = """\
task: quiz
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
TELL = """\
task: tell
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{question}}}}"
doc_to_target: " {{{{choices[label]}}}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
"""
DOCUMENTS = 60
LIMIT = 48


def documents() -> list[dict]:
    """Which of two answers belongs to the question, its own or the next one's; these take turns."""
    lines = (ROOT / "data/eval.jsonl").read_text().splitlines()[: DOCUMENTS + 1]
    asked = [json.loads(line) for line in lines]
    made = []
    for i, (row, other) in enumerate(itertools.pairwise(asked)):
        choices = [row["output"], other["chosen"]]
        choices = choices if i % 2 == 0 else choices[::-1]
        made.append({"question": row["prompt"], "label": i % 2, "choices": choices})
    return made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "quiz.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents()))
    (folder / "quiz.yaml").write_text(TASK.format(data=data))
    (folder / "tell.yaml").write_text(TELL.format(data=data))
    return folder


def asking(folder, **more):
    def change(recipe) -> None:
        recipe["eval"]["lm_eval"] = {
            "tasks": ["quiz", "tell"],
            "include_path": str(folder),
            "limit": LIMIT,
            **more,
        }
        recipe["eval"] |= {"metrics": ["loss"], "max_new_tokens": 4}
        recipe["stages"][1]["checks"] = [{"metric": "quiz/acc", "min": 0.0}]

    return change


@pytest.fixture(scope="module")
def run(tasks, tmp_path_factory):
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install ptspec[lm-eval]")
    folder = tmp_path_factory.mktemp("run")
    recipe = write_recipe(folder, asking(tasks))
    done = pt_loaded("run", recipe, "--output", folder / "out")
    assert done.code == 0, done.stderr
    return folder / "out", done


def log_likelihood(model, tokenizer, document: dict) -> float:
    """Of the right answer after the question, by the model's own logits."""
    import torch

    before = tokenizer(text=document["question"])["input_ids"]
    whole = tokenizer(text=f"{document['question']} {document['choices'][document['label']]}")["input_ids"]
    with torch.no_grad():
        logp = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return sum(logp[i - 1, whole[i]].item() for i in range(len(before), len(whole)))


@pytest.mark.slow
def test_the_adapters_own_policy_is_measured(run):
    """What the harness says of a stage is what the logits of the saved adapter say, not those of the base."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    output, _ = run
    model = AutoPeftModelForCausalLM.from_pretrained(output / "dpo").eval()
    tokenizer = AutoTokenizer.from_pretrained(output / "dpo")
    by_hand = [log_likelihood(model, tokenizer, document) for document in documents()[:LIMIT]]
    found = {
        name: json.loads((output / name / "evaluation_stats.json").read_text())["metrics"]["tell/perplexity"]
        for name in ("base", "sft", "dpo")
    }
    assert found["dpo"]["value"] == pytest.approx(math.exp(-sum(by_hand) / LIMIT), rel=1e-4)
    assert found["dpo"]["low"] < found["dpo"]["value"] < found["dpo"]["high"]
    assert found["dpo"]["low"] > 0
    assert len({figure["value"] for figure in found.values()}) == 3


@pytest.mark.slow
def test_its_results_stand_in_the_same_tables_with_intervals(run):
    from statsmodels.stats.proportion import proportion_confint

    output, done = run
    figure = json.loads((output / "dpo/evaluation_stats.json").read_text())["metrics"]["quiz/acc"]
    bounds = proportion_confint(round(figure["value"] * LIMIT), LIMIT, method="wilson")
    assert (figure["low"], figure["high"]) == pytest.approx(bounds)
    assert re.search(r"quiz acc +\S", done.stdout + done.stderr)
    assert "quiz acc" in pt_loaded("eval", output).stdout
    compared = pt_loaded("eval", "--compare", output / "base", output / "dpo").stdout
    assert re.search(r"quiz acc \(\d+\) +[0-9]", compared)
    assert "quiz acc" in (output / "report.html").read_text()
    assert re.search(r"PASS dpo +quiz acc [0-9.]+ % ≥ 0 %", done.stdout + done.stderr)


def test_without_the_extra_the_run_does_not_start(tasks, tmp_path, monkeypatch, capsys):
    import importlib.util

    from ptspec.checks import machine
    from ptspec.cli import main

    def find_spec(name, *rest):
        return None if name == "lm_eval" else importlib.util.find_spec(name, *rest)

    monkeypatch.setattr(machine, "find_spec", find_spec)
    recipe = write_recipe(tmp_path, asking(tasks))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(recipe), "--output", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert 'error[not-here]: "lm_eval" needs lm-evaluation-harness, which is not installed' in told
    assert "pip install 'ptspec[lm-eval]'" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_task_that_there_is_not_ends_the_run_before_anything_is_trained(tasks, tmp_path):
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install ptspec[lm-eval]")
    recipe = write_recipe(tmp_path, asking(tasks, tasks=["quizz"]))
    change = json.loads(recipe.read_text())
    del change["stages"][1]["checks"]
    recipe.write_text(json.dumps(change))
    done = pt_loaded("run", recipe, "--output", tmp_path / "out")
    assert done.code == 2
    assert 'there is no task "quizz"' in done.stderr
    assert "recipe.json:1:" in done.stderr
    assert not (tmp_path / "out/sft").exists()


def test_intervals():
    """A share and a mean as our own; exp of minus a mean by the mean's ends; else none."""
    from ptspec.evaluation.harness import _figure
    from ptspec.evaluation.stats.estimates import mean, resolve_one

    share = _figure(0.75, [1.0, 1.0, 0.0, 1.0] * 2, 1)
    assert 0 < share.low < 0.75 < share.high < 1
    scores = [-1.0, -2.0, -4.0, -1.5] * 2
    found = resolve_one(mean(scores), seed=1).at(0.95)
    perplexity = _figure(math.exp(2.125), scores, 1)
    assert (perplexity.low, perplexity.high) == (math.exp(-found.high), math.exp(-found.low))
    assert _figure(0.4, [], 1).low is None


def test_what_its_metrics_are_called_and_which_way_is_better():
    assert (metric("quiz/acc").label, metric("quiz/acc").better) == ("quiz acc", Better.HIGHER)
    assert metric("wikitext/word_perplexity").better is Better.LOWER
    assert metric("gsm8k/exact_match:strict-match").label == "gsm8k exact match:strict-match"
