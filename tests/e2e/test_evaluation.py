"""`pt eval` and the checks of a run, as a user meets them."""

import json
import re
import shutil
import socket
from dataclasses import asdict

import pytest
from support.small import ROOT, pt_loaded, write_recipe

from ptspec.evaluation import plots
from ptspec.evaluation.comparison_store import load_comparison

pytestmark = pytest.mark.slow
JUDGE = """
def shorter(prompts, a, b):
    return [0.5 if len(x) == len(y) else float(len(x) < len(y)) for x, y in zip(a, b)]
"""


@pytest.fixture
def copied(small_run, tmp_path):
    shutil.copytree(small_run.output, tmp_path / "out")
    return tmp_path


def adapters(folder):
    return [(folder / "out" / s / "adapter_model.safetensors").stat().st_ino for s in ("sft", "dpo")]


def stats(folder, stage):
    return json.loads((folder / "out" / stage / "evaluation_stats.json").read_text())


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def strict(folder):
    """Checks that the measured value keeps and the end of its interval does not."""
    value = stats(folder, "sft")["metrics"]["bits_per_byte"]["value"]
    bound = {"metric": "bits_per_byte", "max": value * 1.001}
    over_base = {"metric": "bits_per_byte", "min_gain": -5, "over": "base", "confidence": 0.9}

    def change(recipe):
        recipe["stages"][0]["checks"] = [bound, {**bound, "confidence": 0.95}]
        recipe["checks"] = [over_base]

    return change


def test_a_check_on_the_intervals_bound_stops_and_says_by_how_much(copied):
    before = adapters(copied)
    done = pt_loaded("run", write_recipe(copied, strict(copied)), "--output", copied / "out")
    assert done.code == 3 and "not started: dpo" in done.stderr
    bound = (
        r"FAIL sft   bits per byte [\d.]+ \(at most [\d.]+ with 95 % confidence\) ≤ [\d.]+, missed by [\d.]+"
    )
    assert re.search(bound, done.stderr)
    assert 'stage "sft": the check on bits_per_byte failed' in done.stderr
    assert "sft: PASS bits per byte" in done.stderr
    assert adapters(copied) == before


def test_checks_ignored_and_a_judge_of_each_stage_against_its_parent_and_the_base(copied):
    def change(recipe):
        strict(copied)(recipe)
        recipe["judges"] = {"brief": {"function": "judge.py:shorter"}}
        recipe["eval"]["judge"] = "brief"

    (copied / "judge.py").write_text(JUDGE)
    recipe, before = write_recipe(copied, change), adapters(copied)
    done = pt_loaded("run", recipe, "--output", copied / "out", "--allow-code", "--ignore-checks")
    assert done.code == 0 and "sft: WARN bits per byte" in done.stderr, done.stderr
    assert "run: PASS bits per byte over base" in done.stderr
    assert adapters(copied) == before, "neither a check nor a judge trains anything again"
    sft, dpo = stats(copied, "sft"), stats(copied, "dpo")
    assert sft["metrics"]["win_rate"] == sft["metrics"]["win_rate_base"]
    assert {"win_rate", "win_rate_base"} <= set(dpo["metrics"])
    assert dpo["judge"]["name"] == "brief" and dpo["judge"]["compared"] == 32
    rows = [json.loads(line) for line in (copied / "out/dpo/evaluation_rows.jsonl").read_text().splitlines()]
    mean = sum(row["judged"]["sft"] for row in rows) / len(rows)
    assert dpo["metrics"]["win_rate"]["value"] == pytest.approx(mean)

    both = [copied / "out/sft", copied / "out/dpo"]
    compared = pt_loaded("eval", "--compare", *both, "--allow-code", "--format", "json")
    assert compared.code == 0, compared.stderr
    rates = json.loads(compared.stdout)["win_rates"]
    assert rates[0]["rate"]["value"] == pytest.approx(mean) and rates[0]["judge"] == "brief"


def test_a_stage_is_compared_with_its_parent_once_and_all_read_that(copied):
    from ptspec.evaluation.comparison_store import load_comparison
    from ptspec.evaluation.paired.compare import compare
    from ptspec.evaluation.store import load_measurement

    out = copied / "out"
    base, sft, dpo = (load_measurement(out / name) for name in ("base", "sft", "dpo"))
    kept = load_comparison(out / "dpo")
    assert kept == compare([sft, dpo]) and load_comparison(out / "sft") == compare([base, sft])
    assert kept.names == ("sft", "dpo") and not (out / "base/comparison.json").exists()
    loss = next(e for e in kept.effects if e.metric == "loss")
    assert loss.is_described, "of references, after DPO"
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    told = {e["stage"]: e["comparison"] for e in events if e["event"] == "StageEvaluated"}
    assert told["dpo"] == asdict(kept.of_stage()) and told["base"] is None
    text = (out / "dpo/comparison.json").read_text()
    (out / "dpo/comparison.json").unlink()
    recipe = write_recipe(copied, lambda recipe: None)
    done = pt_loaded("run", recipe, "--output", out)
    assert done.code == 0, done.stderr
    assert (out / "dpo/comparison.json").read_text() == text, "made again from what was measured"
    assert pt_loaded("verify", out).code == 0


def test_a_judge_that_is_down_is_reported_before_anything_is_touched(copied):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    def down(recipe):
        recipe["judges"] = {"far": {"endpoint": f"http://127.0.0.1:{port}/v1", "model": "m", "retries": 0}}
        recipe["eval"]["judge"] = "far"

    recipe, before = write_recipe(copied, down), everything(copied / "out")
    done = pt_loaded("run", recipe, "--output", copied / "out")
    assert done.code == 2 and "cannot be reached" in done.stderr and "recipe.json:" in done.stderr
    assert everything(copied / "out") == before
    edited(copied / "out", lambda manifest: manifest.update(recipe=json.loads(recipe.read_text())))
    done = pt_loaded("eval", "--compare", copied / "out/sft", copied / "out/dpo", "--output", copied / "both")
    assert done.code == 2 and "cannot be reached" in done.stderr and "Traceback" not in done.stderr
    assert not (copied / "both").exists()


def test_the_same_comparison_twice_both_ways_and_with_itself(small_run, tmp_path):
    sft, dpo = small_run.output / "sft", small_run.output / "dpo"

    def compared(*runs):
        done = pt_loaded("eval", "--compare", *runs, "--format", "json")
        assert done.code == 0, done.stderr
        return done.stdout

    assert compared(sft, dpo) == compared(sft, dpo)
    there, back = json.loads(compared(sft, dpo)), json.loads(compared(dpo, sft))
    for one, other in zip(there["effects"], back["effects"], strict=True):
        a, b = ([of["difference"][key] for key in ("low", "value", "high")] for of in (one, other))
        assert a == pytest.approx([-number for number in b[::-1]], abs=1e-12)
    shutil.copytree(small_run.output, tmp_path / "copy")
    same = json.loads(compared(small_run.output, tmp_path / "copy"))
    for effect in same["effects"]:
        assert effect["difference"]["value"] == 0 and not effect["is_tested"]
        assert effect["verdict"] in ("no difference shown", "described", "too few prompts")
    assert same["in_words"][0].endswith(
        f"not shown to be better or worse than {small_run.output} at anything."
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda out: shutil.rmtree(out / "dpo"), "the stage dpo of .* is not whole"),
        (lambda out: (out / "dpo/adapter_model.safetensors").unlink(), r"there is no \*.safetensors in it"),
        (lambda out: (out / "dpo/evaluation_rows.jsonl").unlink(), "no evaluation in .*dpo"),
        (lambda out: (out / "dpo/evaluation_stats.json").unlink(), "dpo has no evaluation of its own"),
        (lambda out: (out / "dpo/evaluation_stats.json").write_text("{"), "damaged"),
        (
            lambda out: (out / "manifest.json").unlink(),
            "manifest.json is missing, though",
        ),
        (lambda out: edited(out, lambda m: m.update(format=0)), "of format 0; this program knows 1"),
        (lambda out: edited(out, lambda m: m["stages"].pop("dpo")), "is unfinished: dpo is missing"),
        (lambda out: edited(out, lambda m: m.pop("recipe")), "lacks what a run's manifest holds"),
    ],
)
def test_a_run_that_is_not_whole_is_reported_and_nothing_is_written(copied, change, says):
    change(copied / "out")
    done = pt_loaded("eval", "--compare", copied / "out", copied / "out/sft", "--output", copied / "both")
    assert done.code == 2, done.stdout
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr and not (copied / "both").exists()


def edited(out, change):
    manifest = json.loads((out / "manifest.json").read_text())
    change(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def test_an_output_that_holds_something_else_is_left_alone(small_run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    both = [small_run.output / "sft", small_run.output / "dpo"]
    for folder in (tmp_path, small_run.output, small_run.output / "sft", tmp_path / "notes.txt"):
        before = everything(tmp_path) | everything(small_run.output)
        done = pt_loaded("eval", "--compare", *both, "--output", folder)
        assert done.code == 2 and "--output" in done.stderr
        assert everything(tmp_path) | everything(small_run.output) == before


def other_tokenizer(folder):
    """A random model with a tokenizer of bytes, without a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{byte: i + 1 for i, byte in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    made.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(vocabulary), eos_token_id=0, pad_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)


def test_models_of_other_bases_and_tokenizers_on_some_rows(small_run, tmp_path):
    other_tokenizer(tmp_path / "bytes")
    plain = {"prompt", "chosen", "rejected", "answer", "topic", "output", "instruction"}
    rows = [json.loads(line) for line in (ROOT / "data/eval.jsonl").read_text().splitlines()][:30]
    data = tmp_path / "held.jsonl"
    data.write_text("".join(json.dumps({k: v for k, v in row.items() if k in plain}) + "\n" for row in rows))
    arguments = ["--compare", small_run.output / "dpo", tmp_path / "bytes", "--data", data, "--prompts", "12"]
    done = pt_loaded(
        "eval", *arguments, "--max-new-tokens", "8", "--format", "json", "--show", "2", "--by", "topic"
    )
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    names = {effect["metric"] for effect in found["effects"]}
    assert found["shared"] == 12
    assert {"bits_per_byte", "response_characters", "preference_accuracy", "accuracy"} <= names
    assert not names & {"response_length", "kl"}
    assert any("different tokenizers" in note for note in found["notes"])
    assert len(found["changes"]["prompts"]) == 2 and found["slices"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"foo": 1}\n', r"held.jsonl:1: error\[missing-column\].* this row has the columns foo"),
        ("", "has no rows"),
        ('{"prompt":', "JSON"),
    ],
)
def test_data_that_offers_nothing_is_reported(small_run, tmp_path, text, says):
    (tmp_path / "held.jsonl").write_text(text)
    done = pt_loaded(
        "eval", small_run.output / "sft", "--data", tmp_path / "held.jsonl", "--output", tmp_path / "out"
    )
    assert done.code == 2 and re.search(says, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_the_picture_of_an_evaluation_reported_again_has_the_verdicts_of_the_run(
    small_run, tmp_path, here, monkeypatch
):
    drawn, draw = [], plots.model_comparison
    monkeypatch.setattr(plots, "model_comparison", lambda m, p, v: (drawn.append(v), draw(m, p, v)))
    told = here("eval", small_run.output, "--output", tmp_path / "measured")
    assert told.code == 0, told.stderr
    stored = {name: load_comparison(small_run.output / name) for name in ("sft", "dpo")}
    assert drawn[-1] == {name: one.verdicts() for name, one in stored.items()}
    assert (tmp_path / "measured" / "dpo" / "model_comparison.png").is_file()
