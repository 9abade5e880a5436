"""A plan for devices that are elsewhere: its arithmetic by hand, its screen, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import llama_8b

from ptspec import methods
from ptspec.cli import main
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.devices import DEVICES, find
from ptspec.estimate.held import Holder
from ptspec.estimate.on_paper import Cluster, on_paper
from ptspec.estimate.step_time import FASTEST, SLOWEST, StepWork, step_work, used_parameters
from ptspec.estimate.traffic import Collective, Kind
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape
from ptspec.report.on_paper import seconds

ROOT = Path(__file__).parents[3]
LORA = AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"})
H100 = DEVICES["H100"]


def holder(spec: ComputeSpec, adapter=LORA, **config) -> Holder:
    config = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 16, **config}
    stage = Stage("s", methods.get("sft"), "base", None, "train", adapter, config=config, compute=spec)
    settings, shape = EffectiveConfig(stage, spec, gpu=True), llama_8b.shape()
    return Holder(settings, ModelSpec("8b", True), shape, stage_adapter(stage, shape, None))


def points(spec: ComputeSpec, *, node: int = 8, **config):
    found = on_paper(holder(spec, **config), Cluster(H100, node), 2048.0, lambda settings: None)
    return found, {one.processes: one for one in found.points}


def test_a_published_training_lies_in_the_range():
    """NeMo Automodel: LoRA r 16 of an 8B on one H100, rows of 4,096 tokens, no checkpointing: 12,473 tokens a
    second. Its share of the peak is the upper end, so that the faster end is within some per cent of it."""
    one = holder(ComputeSpec(), gradient_checkpointing=False, per_device_train_batch_size=1)
    work = step_work(one, H100, 1, 16 * 4096.0, 4096.0)
    published = 16 * 4096 / 12_473
    assert FASTEST.step(work) == pytest.approx(published, rel=0.08)
    assert FASTEST.step(work) * 0.9 < published < SLOWEST.step(work)


def test_flops_by_hand():
    """A token: 4 a frozen weight, 6 one of the adapter, attention of 2,048 tokens; checkpointing: 2 more."""
    weights, adapter, attention = 7_504_658_432, 41_943_040, 2 * 32 * 4096 * 2048
    assert used_parameters(llama_8b.shape()) == weights, (
        "all but the embeddings, which are looked up, and norms"
    )
    one = step_work(holder(ComputeSpec(), gradient_checkpointing=False), H100, 1, 1.0, 2048.0)
    assert one.flops == 4 * weights + 6 * adapter + 3 * attention
    again = step_work(holder(ComputeSpec()), H100, 1, 1.0, 2048.0)
    assert again.flops - one.flops == 2 * weights + attention
    full = step_work(
        holder(ComputeSpec(), AdapterSpec(False), gradient_checkpointing=False), H100, 1, 1.0, 2048.0
    )
    assert full.flops == 6 * weights + 3 * attention


def test_of_experts_those_count_that_a_token_goes_to():
    config = {"vocab_size": 10, "hidden_size": 4, "num_experts_per_tok": 2}
    experts = {"model.layers.0.mlp.experts.up": Tensor("BF16", (8, 4, 16))}
    assert used_parameters(ModelShape(config, experts)) == 10 * 4 + 2 * 4 * 16


def test_a_small_pass_takes_as_long_as_reading_its_weights():
    one = step_work(holder(ComputeSpec()), H100, 1, 1.0, 1.0)
    assert one.computing(1.0) >= 16 * 3 * 2 * llama_8b.shape().parameters / H100.bandwidth


def test_the_slowest_link_counts_and_sending_hides_at_best():
    """By hand: 45 GB at nine tenths of 450 GB/s are a ninth of a second; the network has 400 GB/s."""
    sent = [Collective(Kind.ALL_GATHER, "weights", 90_000_000_000, 0)]
    work = StepWork(H100, 2, 1, 0.0, 0.0, 0.0, sent)
    assert work.sent == 45e9
    assert work.sending(0.9) == pytest.approx(1 / 9)
    assert replace(work, nodes=2).sending(0.9) == pytest.approx(45 / 360)
    busy = replace(work, flops=0.5 * H100.peak * FASTEST.share)
    assert FASTEST.step(busy) == pytest.approx(0.5)
    assert SLOWEST.step(busy) == pytest.approx(0.5 * FASTEST.share / SLOWEST.share + 0.2)


def test_each_message_takes_its_hops():
    sent = [Collective(Kind.ALL_GATHER, "weights", 0, 10), Collective(Kind.ALL_REDUCE, "gradients", 0, 1)]
    alone = StepWork(H100, 8, 1, 0.0, 0.0, 0.0, sent)
    assert alone.sending(1.0) == pytest.approx(11 * 8.4e-6 + (10 * 7 + 2 * 3) * 3.4e-6)
    card = replace(alone, device=DEVICES["L40S"])
    assert card.sending(1.0) == pytest.approx(11 * 8.4e-6 + (10 * 7 + 2 * 3) * 5.7e-6)
    assert replace(alone, nodes=8).sending(1.0) == pytest.approx(11 * 8.4e-6 + (10 * 7 + 2 * 3) * 14e-6)


def test_processes_are_doubled_as_far_as_rows_can_be_shared():
    found, by_count = points(ComputeSpec())
    assert list(by_count) == [1, 2, 4, 8, 16, 32, 64]
    assert found.limit == 64
    assert [by_count[n].nodes for n in (8, 16, 64)] == [1, 2, 8]
    assert (by_count[16].rows, by_count[16].passes) == (4, 1)
    assert (by_count[64].rows, by_count[64].passes) == (1, 1)
    _, uneven = points(ComputeSpec("accelerate", 3), gradient_accumulation_steps=3)
    assert list(uneven) == [1, 2, 3, 4], "8 processes cannot share 4 rows in 3 passes"


def test_more_processes_never_gain_more_than_their_number():
    for strategy in ("ddp", "fsdp", "deepspeed"):
        found, by_count = points(ComputeSpec("accelerate", 8, strategy=strategy))
        assert by_count[1].speed_up == (1, 1)
        for count, one in by_count.items():
            assert 0 < one.efficiency[0] <= one.efficiency[1] <= 1.0001, (strategy, count)
            assert one.seconds[0] <= one.seconds[1]
        assert found.here is by_count[8]


def test_where_twice_as_many_bring_little():
    found, by_count = points(ComputeSpec("accelerate", 2, strategy="fsdp"), node=2)
    worst, best = found.stops
    slow = [
        n
        for n in by_count
        if 2 * n in by_count and by_count[2 * n].speed_up[0] < 1.5 * by_count[n].speed_up[0]
    ]
    assert worst == min(slow)
    assert best is None or best >= worst


def test_where_each_takes_as_many_rows_a_step_takes_more():
    found, by_count = points(ComputeSpec("accelerate", 8, keep_effective_batch=False))
    assert found.limit is None
    assert max(by_count) == 32
    assert {(one.rows, one.passes) for one in found.points} == {(4, 16)}
    assert by_count[8].speed_up[1] == pytest.approx(8, rel=0.05)


def test_a_cluster_spreads_processes_evenly():
    cluster = Cluster(H100, 6)
    for count in (1, 2, 4, 8, 16, 64):
        compute = cluster.compute(ComputeSpec(), count)
        assert (compute.world, compute.processes <= 6) == (count, True)


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_devices_are_plausible_and_found_by_name(device):
    assert find(device.name.lower().replace("-", " ")) is device
    assert 1e10 < device.memory < 1e12
    assert 5e13 < device.peak < 1e16
    assert device.source and device.bandwidth > device.link
    assert device.link * device.node >= device.network


@pytest.mark.parametrize(
    ("span", "text"),
    [
        ((0.004, 0.0152), "4.0–15 ms"),
        ((1.04, 2.5), "1.0–2.5 s"),
        ((130.0, 700.0), "2.2–12 m"),
        ((1, 1), "1.0 s"),
    ],
)
def test_ranges_in_words(span, text):
    assert seconds(span) == text


@pytest.fixture
def pt(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def pt(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["plan", str(recipe(tmp_path)), *map(str, arguments)])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return pt


def recipe(folder: Path) -> Path:
    config = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 8, "max_steps": 10}
    value = {
        "model": str(ROOT / "data/base_model"),
        "adapter": {"use_lora": True, "r": 16, "target_modules": "all-linear"},
        "data": {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 50}},
        "stages": [{"name": "sft", "method": "sft", "data": "train", "config": config}],
    }
    file = folder / "recipe.json"
    file.write_text(json.dumps(value))
    return file


PLANNED = ("--processes", 64, "--device", "H200", "--strategy", "fsdp")


@pytest.mark.parametrize("columns", [80, 120])
def test_the_screen(pt, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = pt(*PLANNED, "--device-memory", "141GB")
    assert (code, err) == (0, ""), "what this machine lacks is not told of a plan for another"
    words = " ".join(out.split())
    assert "sft: 64 processes (fsdp), each 1 row × 1 pass a step: 64 together" in words
    assert "on paper: H200, every figure below an estimate" in words
    assert "sft: 64 × H200 on 8 nodes, fsdp" in words
    assert "all-gather of weights" in words and "reduce-scatter of gradients" in words
    assert "while weights are opened, whole" in words
    assert "a step has 64 rows, which no more processes can share" in words
    assert "assumed: computing at 21 % to 41 % of 989 TFLOP/s" in words and "NVIDIA H200 data sheet" in words
    assert re.search(r"^ +64 +1 × 1 .* % +←$", out, re.M)
    assert max(map(len, out.split("\n\n", 1)[1].splitlines())) <= columns


def test_the_same_for_programs(pt):
    code, out, _ = pt(*PLANNED, "--format", "json")
    assert code == 0
    told = json.loads(out)
    assert told["device_memory_bytes"] == 141_000_000_000
    (stage,) = told["stages"]
    paper = stage["on_paper"]
    assert paper["estimate"] is True
    assert paper["most_processes_by_rows"] == 64
    assert [point["processes"] for point in paper["points"]] == [1, 2, 4, 8, 16, 32, 64]
    assert paper["step_seconds"] == paper["points"][-1]["step_seconds"]
    assert paper["points"][-1]["memory_bytes"] == stage["memory_bytes"]["total"]
    assert [sent["kind"] for sent in stage["sent_a_step"]] == ["all-gather", "reduce-scatter"]
    assert set(stage["memory_bytes"]["opened"]) == {"whole weights", "their parts"}


def test_a_device_alone_is_one_process(pt):
    code, out, _ = pt("--device", "rtx 4090")
    assert code == 0
    assert "sft: fits 24 GB" in out and "sft: 1 × RTX-4090" in out
    _, out, _ = pt("--format", "json")
    assert json.loads(out)["stages"][0]["on_paper"] is None


def test_several_processes_tell_what_they_send_without_a_device(pt):
    _, out, _ = pt("--processes", 2)
    assert "2 processes (ddp), each 8 rows × 4 passes a step: 64 together; each sends" in " ".join(
        out.split()
    )
    assert "all-reduce of gradients" in out and "on paper" not in out


def test_a_cluster_of_its_own_nodes(pt):
    _, out, _ = pt("--processes", 16, "--nodes", 4, "--device", "H100")
    assert "sft: 16 × H100 on 4 nodes" in out
    assert "nodes of 4 joined by" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--processes", 0), "--processes is 0", "1 or more"),
        (("--nodes", -1), "--nodes is -1", "1 or more"),
        (("--device", "H2000"), '--device: "H2000" is not known', "one of B200, H200, H100"),
        (("--device-memory", 141), '--device-memory: "141" is not a size', "24GB"),
        (("--strategy", "tp"), '--strategy: there is no "tp"', "ddp, fsdp, deepspeed"),
        (("--processes", 12, "--nodes", 5), "12 cannot be spread evenly over 5 nodes", "another --nodes"),
        (("--processes", 9, "--device", "H100"), "(a node has 8)", "a multiple of 2"),
        (("--processes", 48), "64 rows a step", "a multiple of 48"),
        (("--processes", 2, "-o", "p.json"), "-o keeps what runs here, not --processes", "leave it out"),
    ],
)
def test_options_that_make_no_sense(pt, options, message, hint):
    code, out, err = pt(*options)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split()) and hint in " ".join(err.split())


def test_a_plan_that_was_kept_is_not_changed(pt, tmp_path):
    assert pt("-o", tmp_path / "plan.json")[0] == 0
    with pytest.raises(SystemExit):
        main(["plan", str(tmp_path / "plan.json"), "--processes", "2"])
    # A device alone changes nothing of it.
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(tmp_path / "plan.json"), "--device", "H100"])
    assert not ended.value.code


def test_it_imports_no_torch(tmp_path):
    code = (
        "import sys\nfrom ptspec.cli import main\n"
        f"try: main(['plan', {str(recipe(tmp_path))!r}, '--processes', '64', '--device', 'H200'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'accelerate', 'deepspeed', 'ray'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "on paper: H200" in done.stdout
