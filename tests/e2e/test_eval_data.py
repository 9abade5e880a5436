"""A stage that is measured on held-out rows while it trains: its best step is handed on, it stops early, and
a run that was killed or stopped comes to the same bytes."""

import json
import os
import signal

import pytest
import torch
from support import best_step
from support.forked import Forked
from support.small import ROOT, WEIGHTS, environment, run_here, two_ranks, write_recipe

from ptspec.diagnostics import Exit
from ptspec.events import BestStep, StageReused, StageStarted, StageStep, StepEvaluated, Warned

pytestmark = pytest.mark.slow

EVERY, PATIENCE = 2, 3


def overtrained(recipe):
    """A stage whose loss on held-out rows falls and then rises."""
    recipe["stages"] = recipe["stages"][:1]
    recipe["data"]["train"]["limit"] = 16
    recipe["adapter"]["lora_dropout"] = 0.1
    recipe["stages"][0] |= {"eval_data": "heldout"}
    recipe["stages"][0]["config"] = {
        "learning_rate": 2e-2,
        "lr_scheduler_type": "constant",
        "max_steps": 24,
        "per_device_train_batch_size": 8,
        "eval_steps": EVERY,
        "load_best_model_at_end": True,
        "early_stopping_patience": PATIENCE,
    }
    recipe.pop("eval")


def measured(output, stage="sft"):
    """Step and loss of each evaluation that is logged."""
    lines = map(json.loads, (output / stage / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]


def record(output, stage="sft"):
    return json.loads((output / stage / "stage.json").read_text())


def told(ran, kind):
    return [event for event in ran.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return run_here(write_recipe(folder, overtrained), folder / "out")


def test_the_best_step_is_handed_on_and_the_stage_stops_early(undisturbed):
    losses = measured(undisturbed.output)
    best, last = min(losses, key=lambda one: one[1]), losses[-1]
    assert (last[0] - best[0]) // EVERY == PATIENCE and best[0] > EVERY
    folder = undisturbed.output / "sft"
    checkpoint = folder / "checkpoints" / f"checkpoint-{best[0]}"
    assert (folder / WEIGHTS).read_bytes() == (checkpoint / WEIGHTS).read_bytes()
    (found,) = told(undisturbed, BestStep)
    assert found.words == (
        f"stopped early at step {last[0]}: eval_loss has not improved for {PATIENCE} evaluations; "
        f"best step {best[0]} is handed on"
    )
    kept = {"step": best[0], "metric": "eval_loss", "value": best[1]}
    assert record(undisturbed.output)["best"] == kept | {"handed_on": True, "stopped_at": last[0]}
    assert record(undisturbed.output)["steps"] == last[0]
    assert [(one.step, one.metrics["eval_loss"]) for one in told(undisturbed, StepEvaluated)] == losses


def killing(arguments):
    """`pt run`, which is killed when it has told of an event: its kind and step, of the first that fits."""
    *arguments, kind, step = arguments

    def hear(event):
        if type(event).__name__ == kind and event.step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    from pathlib import Path

    run_here(Path(arguments[0]), Path(arguments[1]), hear)


def killed(recipe, output, kind, step):
    arguments = (recipe, output, kind, step)
    process = Forked(*arguments, cwd=ROOT, environment=environment(), main=killing)
    assert process.wait(200) == -signal.SIGKILL, process.told


def test_killed_three_times_it_comes_to_the_same_bytes(undisturbed, tmp_path):
    """Before its best step is saved, after, and when it has stopped early."""
    recipe, output = write_recipe(tmp_path, overtrained), tmp_path / "out"
    best = record(undisturbed.output)["best"]
    killed(recipe, output, "StepEvaluated", best["step"])
    killed(recipe, output, "StageStep", best["step"] + 3)
    killed(recipe, output, "BestStep", best["step"])
    ran = run_here(recipe, output)
    assert ran.resumed == {"sft": best["stopped_at"]}
    assert ran.weights == undisturbed.weights
    assert measured(output) == measured(undisturbed.output)
    assert record(output)["best"] == best
    assert told(ran, BestStep) == told(undisturbed, BestStep)


def stopping(step):
    """Stops the run in a step, as a signal does."""

    def hear(event):
        if isinstance(event, StageStep) and event.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return hear


def test_stopped_where_it_would_be_measured_that_is_made_up_for(undisturbed, tmp_path):
    """Whoever stops it does not wait for an evaluation; of the best step, too."""
    recipe, output = write_recipe(tmp_path, overtrained), tmp_path / "out"
    best = record(undisturbed.output)["best"]
    for step in (best["step"], best["stopped_at"]):
        ran = run_here(recipe, output, stopping(step - 1))
        assert ran.error.exit is Exit.INTERRUPTED
        assert step not in [one.step for one in told(ran, StepEvaluated)]
    ran = run_here(recipe, output)
    assert ran.resumed == {"sft": best["stopped_at"]}
    assert ran.weights == undisturbed.weights
    assert measured(output) == measured(undisturbed.output)
    assert record(output)["best"] == best


def test_a_damaged_best_step_is_trained_again(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, overtrained), tmp_path / "out"
    best = record(undisturbed.output)["best"]
    assert run_here(recipe, output, stopping(best["step"] + 2)).error is not None
    weights = output / ".sft.partial" / "checkpoints" / f"checkpoint-{best['step']}" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    ran = run_here(recipe, output)
    assert f"names step {best['step']} as the best so far, whose checkpoint is damaged" in " ".join(
        one.text for one in told(ran, Warned)
    )
    assert ran.resumed["sft"] < best["step"]
    assert ran.weights == undisturbed.weights


def only_measured(recipe):
    overtrained(recipe)
    for field in ("load_best_model_at_end", "early_stopping_patience"):
        del recipe["stages"][0]["config"][field]
    recipe["stages"][0]["config"]["max_steps"] = 6


def test_what_is_only_measured_changes_nothing(tmp_path):
    """Not the weights (dropout draws as without it), and not what is reused."""

    def without(recipe):
        only_measured(recipe)
        del recipe["stages"][0]["eval_data"], recipe["stages"][0]["config"]["eval_steps"]

    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    ran = run_here(write_recipe(tmp_path / "with", only_measured), tmp_path / "with" / "out")
    plain = run_here(write_recipe(tmp_path / "without", without), tmp_path / "without" / "out")
    assert len(measured(ran.output)) == 3
    assert ran.weights == plain.weights
    again = run_here(tmp_path / "with" / "recipe.json", plain.output)
    assert told(again, StageReused) and not told(again, StageStarted)
    assert "eval_data" in told(again, Warned)[0].text
    other = run_here(write_recipe(tmp_path / "without", overtrained), plain.output)
    (started,) = told(other, StageStarted)
    assert "evaluation changed" in started.reason


def test_all_weights_of_the_best_step_are_handed_on(tmp_path):
    def whole(recipe):
        overtrained(recipe)
        recipe["adapter"] = {"use_lora": False}
        recipe["stages"][0]["config"] |= {"learning_rate": 2e-3, "save_total_limit": 1}

    ran = run_here(write_recipe(tmp_path, whole), tmp_path / "out")
    assert ran.error is None
    best, folder = record(ran.output)["best"], ran.output / "sft"
    assert best["stopped_at"] > best["step"]
    checkpoints = {path.name: path for path in (folder / "checkpoints").glob("checkpoint-*")}
    assert checkpoints.keys() == {f"checkpoint-{best['step']}", f"checkpoint-{best['stopped_at']}"}
    saved = (folder / "model.safetensors").read_bytes()
    assert saved == (checkpoints[f"checkpoint-{best['step']}"] / "model.safetensors").read_bytes()


def test_four_bit_weights_under_the_best_adapter(tmp_path):
    def quantised(recipe):
        overtrained(recipe)
        recipe["adapter"]["use_qlora"] = True

    ran = run_here(write_recipe(tmp_path, quantised), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    best, folder = record(ran.output)["best"], ran.output / "sft"
    assert best["step"] < record(ran.output)["steps"]
    saved = (folder / "checkpoints" / f"checkpoint-{best['step']}" / WEIGHTS).read_bytes()
    assert (folder / WEIGHTS).read_bytes() == saved


def test_rows_of_another_form_are_measured_as_they_would_be_learned(tmp_path):
    """SFT's trainer goes by the form of the rows that it learns from: of plain text beside prompts with
    completions, all tokens count. A policy that has learned nothing yet measures them as one that learns
    from such rows."""

    def measured_once(recipe):
        only_measured(recipe)
        recipe["stages"][0]["config"] |= {"max_steps": 1, "eval_steps": 1}

    def mixed(recipe):
        measured_once(recipe)
        text = "".join(f"Mira lives in Tarn, number {number}.\n" for number in range(8))
        rows = (json.dumps({"text": line}) for line in text.splitlines())
        (tmp_path / "plain.jsonl").write_text("".join(f"{row}\n" for row in rows))
        recipe["data"]["plain"] = {"path": str(tmp_path / "plain.jsonl")}
        recipe["stages"][0]["eval_data"] = "plain"

    def plain(recipe):
        mixed(recipe)
        recipe["stages"][0] |= {"data": "plain"}

    losses = []
    for name, change in (("mixed", mixed), ("plain", plain)):
        (tmp_path / name).mkdir()
        recipe = write_recipe(tmp_path / name, change)
        content = json.loads(recipe.read_text())
        content["stages"][0]["config"]["learning_rate"] = 1e-9
        recipe.write_text(json.dumps(content))
        ran = run_here(recipe, tmp_path / name / "out")
        assert ran.error is None, ran.error.diagnostics
        losses.append(measured(ran.output)[0][1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_memory_that_runs_out_in_an_evaluation_halves_its_passes(tmp_path, monkeypatch):
    import trl

    original, refused = trl.SFTTrainer.prediction_step, []

    def step(self, model, inputs, *args, **kwargs):
        if len(inputs["input_ids"]) > 4 and self.state.global_step > EVERY:
            refused.append(self.state.global_step)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, model, inputs, *args, **kwargs)

    def halving(recipe):
        overtrained(recipe)
        recipe["stages"][0]["config"] |= {"max_steps": 8, "auto_find_batch_size": True}

    monkeypatch.setattr(trl.SFTTrainer, "prediction_step", step)
    ran = run_here(write_recipe(tmp_path, halving), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    assert refused == [2 * EVERY]
    assert any("an evaluation is the mean of smaller passes" in one.text for one in told(ran, Warned))
    assert [step for step, _ in measured(ran.output)] == [2, 4, 6, 8]
    assert ran.resumed == {"sft": 2 * EVERY}


def test_two_processes_come_to_the_verdict_of_one(tmp_path):
    """Each with the whole model. With parts of it: test_sharded.py, test_deepspeed.py."""
    recipe = best_step.recipe_in(tmp_path / "recipe")
    one = run_here(recipe, tmp_path / "one")
    assert one.error is None, one.error.diagnostics
    assert len(told(one, BestStep)) == 2
    first, second = two_ranks("run", recipe, "--output", tmp_path / "two")
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    events = map(json.loads, (tmp_path / "two" / "events.jsonl").read_text().splitlines())
    assert [event["event"] for event in events].count("BestStep") == 2
    best_step.assert_same_best_step(one.output, tmp_path / "two")
