"""A fingerprint covers what changes a stage's result, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from ptspec import methods
from ptspec.recipe.plan import (
    AdapterSpec,
    ComputeSpec,
    EvaluationSpec,
    Handover,
    ModelSpec,
    Plan,
    Stage,
    TrackingSpec,
)
from ptspec.recipe.signals import JudgeSpec
from ptspec.recipe.sources import Source
from ptspec.store.content_hashes import Hashes, digest, hash_folder
from ptspec.store.fingerprint import changes, evaluation_fingerprint, ingredients


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    rows = tmp_path / "train.jsonl"
    rows.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    stage = Stage(
        name="dpo",
        method=methods.get("dpo"),
        parent="sft",
        handover=Handover.CONTINUE,
        data="train",
        adapter=AdapterSpec(True, lora={"r": 8}),
        config={"beta": 0.1, "learning_rate": 1e-4},
    )
    return Plan(
        name="x",
        description="",
        seed=1,
        model=ModelSpec(str(tmp_path / "model"), local=True),
        data={"train": Source("train", (rows,))},
        rewards={},
        judges={},
        stages=(stage,),
        evaluation=None,
        checks=(),
        compute=ComputeSpec(),
        tracking=TrackingSpec(),
        output=tmp_path / "out",
        recipe=tmp_path / "r.json",
        document={},
    )


def covered(plan, stage=None, parent="p"):
    return ingredients(plan, stage or plan.stages[0], parent, Hashes(plan))


def with_config(plan, **config):
    stage = plan.stages[0]
    return replace(stage, config={**stage.config, **config})


def test_what_changes_nothing_in_the_result_changes_nothing_in_the_fingerprint(plan):
    before = digest(covered(plan))
    stage = plan.stages[0]
    reordered = replace(stage, config=dict(reversed(stage.config.items())))
    assert digest(covered(plan, reordered)) == before
    assert digest(covered(plan, with_config(plan, logging_steps=7, save_steps=3, report_to="none"))) == before
    assert digest(covered(plan, replace(stage, name="other", at="/stages/3"))) == before
    renamed = replace(plan, name="y", description="z", output=Path("elsewhere"))
    assert digest(covered(renamed)) == before


@pytest.mark.parametrize(
    "config",
    [
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},  # TRL's defaults, said
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"auto_find_batch_size": True},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"activation_offloading": True, "precompute_ref_batch_size": 2, "torch_empty_cache_steps": 1},
        {"ddp_timeout": 60},
    ],
)
def test_how_rows_are_cut_and_memory_is_saved_changes_nothing(plan, config):
    assert digest(covered(plan, with_config(plan, **config))) == digest(covered(plan))


def test_processes_share_the_rows_of_a_step(plan):
    four = ComputeSpec(processes=2, nodes=2)
    shared = replace(plan.stages[0], compute=four)
    assert digest(covered(plan, shared)) == digest(covered(plan))
    each = replace(shared, compute=replace(four, keep_effective_batch=False))
    assert changes(covered(plan), covered(plan, each)) == ["rows of an optimizer step 8 → 32"]
    cut = replace(with_config(plan, per_device_train_batch_size=2), compute=each.compute)
    assert digest(covered(plan, cut)) == digest(covered(plan))


@pytest.mark.parametrize(
    "config",
    [
        {"per_device_train_batch_size": 4},
        {"gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "dataloader_drop_last": True},
    ],
)
def test_other_rows_of_a_step_change_the_fingerprint(plan, config):
    before = with_config(plan, dataloader_drop_last=config.get("dataloader_drop_last", False))
    assert digest(covered(plan, with_config(plan, **config))) != digest(covered(plan, before))


def cut(plan, method, rows, passes, **config):
    config |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": passes}
    return digest(covered(plan, replace(plan.stages[0], method=methods.get(method), config=config)))


def test_a_generation_counts_by_its_rows(plan):
    whole = cut(plan, "grpo", 8, 1, steps_per_generation=2)
    assert cut(plan, "grpo", 4, 2, steps_per_generation=4) == whole
    assert cut(plan, "grpo", 8, 1, generation_batch_size=16) == whole
    assert cut(plan, "grpo", 4, 2, steps_per_generation=2) != whole
    assert cut(plan, "grpo", 4, 2) == cut(plan, "grpo", 8, 1)


@pytest.mark.parametrize(
    ("method", "loss", "counts"),
    [
        ("kto", "kto", True),
        ("kto", "apo_zero_unpaired", False),
        ("dpo", ["sigmoid", "aot"], True),
        ("dpo", "aot_unpaired", True),
        ("dpo", "ipo", False),
    ],
)
def test_the_rows_of_a_pass_count_where_a_loss_needs_them(plan, method, loss, counts):
    cuts = {cut(plan, method, rows, 8 // rows, loss_type=loss) for rows in (8, 4, 2)}
    assert len(cuts) == (3 if counts else 1)


def test_how_long_a_judge_is_waited_for_changes_nothing(plan):
    def judged(**options):
        judge = JudgeSpec("j", endpoint="http://h", model="m", options=options)
        return covered(replace(plan, judges={"j": judge}, stages=(replace(plan.stages[0], judge="j"),)))

    assert judged(timeout=5, retries=9, max_concurrency=2) == judged()
    assert judged(temperature=0.5) != judged()


def test_what_changes_the_result_changes_the_fingerprint(plan, tmp_path):
    before = digest(covered(plan))
    assert digest(covered(plan, with_config(plan, beta=0.2))) != before
    assert digest(covered(plan, parent="q")) != before
    assert digest(covered(replace(plan, seed=2))) != before
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "d"}\n')
    assert digest(covered(plan)) != before


def test_other_weights_are_another_fingerprint(plan, tmp_path):
    before = digest(covered(plan))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    assert digest(covered(plan)) != before


def test_changes_are_reported_in_words(plan):
    before, after = covered(plan), covered(plan, with_config(plan, beta=0.2))
    assert changes(before, after) == ["beta 0.1 → 0.2"]
    assert changes(before, covered(replace(plan, seed=3))) == ["seed 1 → 3"]


def test_a_gpu_computes_in_other_numbers_unless_the_recipe_says_in_which(plan, monkeypatch):
    def on(gpu, plan):
        monkeypatch.setattr("ptspec.store.fingerprint.has_accelerator", lambda: gpu)
        return covered(plan)

    assert changes(on(False, plan), on(True, plan)) == [
        "training fp32 → bf16",
        "weights float32 → as stored",
    ]

    def in_precision(precision):
        stage = replace(plan.stages[0], compute=ComputeSpec(precision=precision))
        return replace(plan, model=replace(plan.model, dtype="bfloat16"), stages=(stage,))

    assert digest(on(False, in_precision("bf16"))) == digest(on(True, in_precision("bf16")))
    assert digest(on(True, in_precision("bf16"))) != digest(on(True, in_precision("fp32")))


def test_the_template_of_a_judge_counts_by_its_contents(plan, tmp_path):
    template = tmp_path / "ask.txt"
    template.write_text("{prompt} {a} {b}")
    judge = JudgeSpec("j", endpoint="http://h", model="m", options={"template": str(template)})
    judged = replace(plan, judges={"j": judge}, stages=(replace(plan.stages[0], judge="j"),))
    before = digest(covered(judged))
    assert digest(covered(judged)) == before
    template.write_text("Which is better? {prompt} {a} {b}")
    assert digest(covered(judged)) != before


def test_a_template_in_the_home_folder_counts_by_its_contents(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    template = tmp_path / "ask.txt"
    template.write_text("{prompt} {a} {b}")
    judge = JudgeSpec("j", endpoint="http://h", model="m", options={"template": "~/ask.txt"})
    nash = replace(plan.stages[0], method=methods.get("nash_md"), judge="j")
    plan = replace(plan, judges={"j": judge}, stages=(nash,))
    before = covered(plan)
    template.write_text("Which is better? {prompt} {a} {b}")
    assert changes(before, covered(plan)) == ["signals changed"]


FILES = [
    *("generation_config.json", "modeling_own.py", "vocab.json", "merges.txt", "added_tokens.json"),
    *(
        "special_tokens_map.json",
        "spiece.model",
        "chat_template.jinja",
        "additional_chat_templates/tool.jinja",
    ),
]


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_decides_a_result_is_hashed(plan, name):
    file = Path(plan.model.path) / name
    file.parent.mkdir(exist_ok=True)
    without = hash_folder(Path(plan.model.path))
    file.write_text("a")
    first, covered_first = hash_folder(Path(plan.model.path)), digest(covered(plan))
    file.write_text("b")
    assert len({without, first, hash_folder(Path(plan.model.path))}) == 3
    assert digest(covered(plan)) != covered_first


@pytest.mark.parametrize("name", ["README.md", "preprocessor.txt", "pytorch_model.bin.index.json"])
def test_a_file_that_decides_nothing_is_not(plan, name):
    before = digest(covered(plan))
    (Path(plan.model.path) / name).write_text("a")
    assert digest(covered(plan)) == before


def test_a_folder_is_hashed_once_a_run_unless_the_run_may_write_it(plan, tmp_path):
    hashes, outside, own = Hashes(plan), tmp_path / "adapter", plan.output / "reward"
    for folder in (outside, own):
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"before")
    before = hashes.folder(outside), hashes.folder(own)
    for folder in (outside, own):
        (folder / "adapter_model.safetensors").write_bytes(b"after")
    assert hashes.folder(outside) == before[0]
    assert hashes.folder(own) == hash_folder(own) != before[1]


@pytest.mark.parametrize(
    ("vllm", "metrics", "covered"),
    [
        ({}, None, True),
        ({"mode": "server", "server_port": 9}, ("loss", "accuracy"), True),
        ({}, ("loss", "reward_margin"), False),
        ({"weight_sync": "nccl"}, None, False),
        ({"mode": "colocate"}, None, False),
    ],
)
def test_an_evaluation_covers_that_a_server_answers(plan, vllm, metrics, covered):
    spec = EvaluationSpec("train", metrics)
    here = replace(plan, evaluation=spec)
    there = replace(here, compute=ComputeSpec(vllm=vllm))
    one, other = (evaluation_fingerprint(each, spec, Hashes(each)) for each in (here, there))
    assert (one != other) is covered
