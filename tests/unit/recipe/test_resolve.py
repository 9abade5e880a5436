"""From a recipe to a plan: defaults, names, paths, hand-over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec.diagnostics import InputError, Severity
from ptspec.recipe.plan import Handover, OnFail
from ptspec.recipe.resolve import load_plan, read_recipe
from ptspec.recipe.sources import Mix

LORA = {"use_lora": True, "r": 8}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a model and rows."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("rows").mkdir()
    for name in ("b.jsonl", "a.jsonl", "c.parquet", "d.csv.gz", "notes.txt"):
        Path("rows", name).write_text("")
    return tmp_path


def recipe(stages=None, **more):
    value = {
        "model": "model",
        "data": {"train": {"path": "rows/a.jsonl"}},
        "stages": stages or [stage("sft"), stage("dpo")],
        **more,
    }
    Path("r.json").write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    return Path("r.json")


def stage(name, method=None, **more):
    return {"name": name, "method": method or name, "data": "train", **more}


def plan(*args, **more):
    return load_plan(recipe(*args, **more))


def codes(*args, **more):
    return [d.code for d in read_recipe(recipe(*args, **more)).diagnostics]


def test_defaults(folder):
    made = plan()
    assert (made.name, made.seed, made.output) == ("r", 42, folder / "outputs/r")
    assert made.evaluation is None
    assert made.model.path == str(folder / "model")
    assert made.model.local
    assert made.recipe == folder / "r.json"
    assert [s.adapter.use_lora for s in made.stages] == [False, False]


def test_output_is_the_runs_own_folder(folder):
    assert load_plan(recipe(), output=Path("elsewhere/x")).output == folder / "elsewhere/x"


def test_the_document_is_the_recipe_after_overrides(folder):
    made = load_plan(recipe(), ["stages.dpo.config.beta=0.3"])
    assert made.document["stages"][1]["config"] == {"beta": 0.3}
    assert made.stages[1].config == {"beta": 0.3}


def test_config_is_what_the_recipe_gave_without_comments(folder):
    given = {"$comment": "x", "beta": 0.1, "gradient_checkpointing_kwargs": {"$comment": "x", "a": 1}}
    made = plan([stage("dpo", config=given)])
    assert made.stages[0].config == {"beta": 0.1, "gradient_checkpointing_kwargs": {"a": 1}}
    assert made.document["stages"][0]["config"]["$comment"] == "x"


def test_a_stage_starts_from_the_last_policy_before_it(folder):
    made = plan(
        [stage("sft"), stage("dpo"), stage("again", "dpo"), stage("other", "sft", **{"from": "base"})]
    )
    assert [s.parent for s in made.stages] == ["base", "sft", "dpo", "base"]


def test_the_stages_adapter_overrides_the_recipes(folder):
    made = plan([stage("sft", adapter={"r": 16}), stage("dpo")], adapter={**LORA, "lora_alpha": 4})
    assert [s.adapter.lora for s in made.stages] == [{"r": 16, "lora_alpha": 4}, {"r": 8, "lora_alpha": 4}]
    assert [s.adapter.at for s in made.stages] == ["/stages/0/adapter", "/adapter"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, Handover.CONTINUE),
        ({}, {"r": 16}, Handover.MERGE),
        ({}, {"use_lora": False}, Handover.MERGE),
        ({"use_lora": False}, {}, None),
        ({"use_qlora": True}, {"use_qlora": True}, Handover.CONTINUE),
        ({"use_qlora": True}, {"use_qlora": True, "r": 16}, Handover.STACK),
        ({}, {"use_qlora": True}, Handover.STACK),
        ({"init_lora_weights": "pissa"}, {"init_lora_weights": "pissa"}, Handover.CONTINUE),
        ({"init_lora_weights": "pissa"}, {}, Handover.MERGE),
    ],
)
def test_the_default_handover(folder, first, second, expected):
    made = plan([stage("sft", adapter=first), stage("dpo", adapter=second)], adapter=LORA)
    assert [s.handover for s in made.stages] == [None, expected]


def test_an_adapter_of_both_ranks_is_not_one_that_pissa_would_make(folder):
    stages = [stage("sft"), stage("dpo", handover="merge"), stage("kto")]
    made = plan(stages, adapter={**LORA, "init_lora_weights": "pissa"})
    assert [s.handover for s in made.stages] == [None, Handover.MERGE, Handover.MERGE]


@pytest.mark.parametrize(
    ("adapter", "asked", "expected"),
    [
        ({}, "merge", Handover.MERGE),
        ({}, "stack", Handover.MERGE),
        ({"use_qlora": True}, "merge", Handover.STACK),
        # Saved as whole weights, since no adapter is the sum of both.
        ({"use_dora": True}, "merge", None),
    ],
)
def test_an_adapter_of_both_ranks_is_not_one_of_the_stages_own_rank(folder, adapter, asked, expected):
    stages = [stage("sft"), stage("dpo", handover=asked), stage("kto")]
    made = plan(stages, adapter={**LORA, **adapter})
    assert made.stages[-1].handover is expected
    if expected is not None:
        stages[-1]["handover"] = "continue"
        assert codes(stages, adapter={**LORA, **adapter}) == ["handover-mismatch"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"use_qlora": True}, {}, ["another-precision"]),
        ({"use_qlora": True}, {"use_lora": False}, ["another-precision"]),
        ({"use_dora": True}, {"handover": "stack"}, ["cannot-stack"]),
        ({"bias": "all"}, {"handover": "stack"}, ["cannot-stack"]),
        ({}, {"handover": "stack", "init_lora_weights": "pissa"}, ["cannot-stack"]),
        ({"use_qlora": True}, {"use_qlora": True, "use_dora": True}, ["cannot-stack"]),
        ({"use_qlora": True}, {"use_qlora": True, "use_dora": True, "handover": "merge"}, ["cannot-merge"]),
        ({"use_dora": True}, {"handover": "merge"}, []),
    ],
)
def test_a_handover_that_would_not_keep_the_policy(folder, first, second, expected):
    asked = {key: second[key] for key in ("handover",) if key in second}
    own = {key: value for key, value in second.items() if key != "handover"}
    assert codes([stage("sft", adapter=first), stage("dpo", adapter=own, **asked)], adapter=LORA) == expected


def test_a_stacked_adapter_is_not_continued_by_default(folder):
    stages = [stage("sft"), stage("dpo", handover="stack"), stage("again", "dpo")]
    assert [s.handover for s in plan(stages, adapter=LORA).stages] == [None, Handover.STACK, Handover.MERGE]


@pytest.mark.parametrize(
    ("saved", "expected"), [({"r": 8}, Handover.CONTINUE), ({"r": 4}, Handover.MERGE), ("[]", Handover.MERGE)]
)
def test_an_adapter_folder_comes_in(folder, saved, expected):
    Path("trained").mkdir()
    Path("trained/adapter_config.json").write_text(json.dumps(saved) if isinstance(saved, dict) else saved)
    made = plan([stage("dpo", **{"from": "./trained"})], adapter={**LORA, "target_modules": "all-linear"})
    assert (made.stages[0].parent, made.stages[0].handover) == (str(folder / "trained"), expected)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("rows/a.jsonl", ["a.jsonl"]),
        ("rows", ["a.jsonl", "b.jsonl", "c.parquet", "d.csv.gz"]),
        ("rows/*.jsonl", ["a.jsonl", "b.jsonl"]),
        (["rows/b.jsonl", "rows/*.jsonl"], ["b.jsonl", "a.jsonl"]),
        ("**/a.*", ["a.jsonl"]),
    ],
)
def test_files_folders_globs_and_lists(folder, path, names):
    source = plan(data={"train": {"path": path}}).data["train"]
    assert [file.name for file in source.paths] == names
    assert all(file.is_absolute() for file in source.paths)


def test_a_hub_dataset(folder):
    source = plan(data={"train": {"path": "someone/rows", "name": "main", "split": "train"}}).data["train"]
    assert (source.paths, source.hub, source.config_name, source.split) == (
        (),
        "someone/rows",
        "main",
        "train",
    )


@pytest.mark.parametrize(
    "path", ["rows/x", "rows/x.jsonl", "./x", "/no/where", "a/b/c", "someone/rows.jsonl"]
)
def test_what_reads_as_a_path_is_no_hub_id(folder, path):
    assert codes(data={"train": {"path": path}}) == ["no-such-data"]


def test_paths_resolve_from_the_working_directory_then_from_the_recipes_folder(folder):
    Path("recipes").mkdir()
    moved = recipe().rename("recipes/r.json")
    assert load_plan(moved).model.path == str(folder / "model")
    Path("recipes/model").mkdir()
    Path("recipes/model/config.json").write_text("{}")
    assert load_plan(moved).model.path == str(folder / "model")
    Path("model/config.json").unlink()
    Path("model").rmdir()
    assert load_plan(moved).model.path == str(folder / "recipes/model")


def test_an_error_names_both_places(folder):
    Path("recipes").mkdir()
    moved = recipe(model="./none").rename("recipes/r.json")
    (fault,) = read_recipe(moved).diagnostics
    assert fault.notes == ("looked for none", "looked for recipes/none")


def test_mixing_weights_become_probabilities(folder):
    source = {"path": "rows/a.jsonl"}
    made = plan(data={"train": {"mix": {"a": 3, "b": 1}}, "a": source, "b": source})
    assert made.data["train"] == Mix("train", {"a": 0.75, "b": 0.25}, at="/data/train")


def test_rewards_and_checks(folder):
    Path("mine.py").write_text("def brevity(prompts, completions, **columns): ...\n")
    rewards = {
        "style": {"function": "regex", "pattern": ".*", "weight": 2},
        "short": {"function": "mine.py:brevity"},
        "model": {"model": "someone/reward"},
    }
    check = {"metric": "style", "min_gain": 0.1, "over": "base", "on_fail": "warn"}
    made = plan([stage("sft", checks=[check])], rewards=rewards, eval={"data": "train", "metrics": ["style"]})
    assert (made.rewards["style"].weight, dict(made.rewards["style"].options)) == (2.0, {"pattern": ".*"})
    assert made.rewards["short"].function == f"{folder / 'mine.py'}:brevity"
    assert made.rewards["model"].model == "someone/reward"
    (found,) = made.stages[0].checks
    assert (found.metric, found.min_gain, found.over, found.on_fail) == ("style", 0.1, "base", OnFail.WARN)
    assert found.at == "/stages/0/checks/0"
    assert made.evaluation.metrics == ("style",)


def test_code_is_read_but_not_run(folder):
    Path("mine.py").write_text("raise SystemExit('ran')\ndef brevity(): ...\n")
    assert codes(rewards={"short": {"function": "mine.py:brevity"}}) == []
    assert codes(rewards={"short": {"function": "yours.py:brevity"}}) == ["no-such-file"]


def test_the_revision_of_a_reward_model_is_of_the_hub_only(folder):
    pinned = {"model": "someone/reward", "revision": "v1"}
    assert plan(rewards={"r": pinned}).rewards["r"].revision == "v1"
    assert codes(rewards={"r": pinned}) == []
    assert codes(rewards={"r": {**pinned, "model": str(folder / "model")}}) == ["unused-key"]


def test_schema_faults_and_others_are_reported_together(folder):
    found = codes(
        [stage("sft", config={"lr": 1}), stage("dpo", **{"from": "nowhere"})],
        data={"train": {"path": "./no"}},
    )
    assert sorted(found) == ["no-such-data", "unknown-key", "unknown-stage"]


def test_what_follows_from_a_fault_is_not_reported_again(folder):
    assert codes([stage("sft"), stage("dpo", "dop", handover="merge")], adapter=LORA) == ["not-one-of"]
    assert codes([stage("sft", config=3), stage("dpo", data=4)]) == ["wrong-type", "wrong-type"]


def test_warnings_do_not_keep_a_plan_from_being_made(folder):
    reading = read_recipe(recipe([stage("dpo", config={"max_steps": 3, "num_train_epochs": 1})]))
    assert reading.plan is not None
    assert [d.severity for d in reading.diagnostics] == [Severity.WARNING]
    assert reading.errors == ()


def test_load_plan_raises_every_error_and_no_warning(folder):
    config = {"max_steps": 3, "num_train_epochs": 1, "bf16": True, "fp16": True, "lr": 1}
    with pytest.raises(InputError) as raised:
        plan([stage("dpo", config=config)])
    assert sorted(d.code for d in raised.value.diagnostics) == ["contradiction", "unknown-key"]


def test_a_faulty_recipe_still_has_its_sound_parts(folder):
    reading = read_recipe(
        recipe([stage("sft"), stage("dpo", **{"from": "sfft"}), stage("x", "sft", data="none")])
    )
    assert reading.plan is None
    assert [s.name for s in reading.partial.stages] == ["sft", "dpo"]


def test_the_name_defaults_to_the_files_stem_as_a_slug(folder):
    moved = recipe().rename("My Recipe (2).json")
    assert load_plan(moved).name == "my_recipe__2"


@pytest.mark.parametrize(
    ("config", "compute", "fits"),
    [
        ({}, None, True),
        ({"num_generations": 3}, None, False),
        ({"per_device_train_batch_size": 4}, None, False),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}, None, True),
        ({}, {"launcher": "accelerate", "processes": 2}, True),
        (
            {"per_device_train_batch_size": 4},
            {"launcher": "accelerate", "processes": 2, "keep_effective_batch": False},
            True,
        ),
        ({"generation_batch_size": 8}, {"launcher": "accelerate", "processes": 2}, True),
        ({"per_device_train_batch_size": 4, "steps_per_generation": 4}, None, True),
        ({"generation_batch_size": 12}, None, False),
    ],
)
def test_a_generation_batch_holds_whole_groups(folder, config, compute, fits):
    rewards = {"right": {"function": "exact_match"}}
    stages = [stage("grpo", rewards=["right"], config=config)]
    more = {"compute": compute} if compute else {}
    assert codes(stages, rewards=rewards, **more) == ([] if fits else ["contradiction"])


def test_a_reward_stage_is_no_parent_and_may_be_named_as_a_reward(folder):
    rewards = {"trained": {"model": "rm"}}
    made = plan([stage("sft"), stage("rm", "reward"), stage("dpo")], rewards=rewards, adapter=LORA)
    assert [s.parent for s in made.stages] == ["base", "base", "sft"]
    assert made.rewards["trained"].model == "rm"
    assert codes([stage("rm", "reward"), stage("dpo", **{"from": "rm"})]) == ["not-a-policy"]
    from_adapter = [stage("sft"), stage("rm", "reward", **{"from": "sft"})]
    assert codes(from_adapter, adapter=LORA) == ["reward-from-adapter"]
