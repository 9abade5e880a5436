"""A matrix as the ordinary stages that it stands for, and where its faults are told."""

import copy
import json

import pytest
from support.small import RECIPE

from ptspec.recipe.matrix import expanded, expanded_stages, steps_of
from ptspec.recipe.plan import Handover
from ptspec.recipe.resolve import read_recipe


def with_matrix(matrix, pick=None, later=None, **of_stage):
    """Makes the small recipe's DPO one with this matrix; `later`: a stage behind it."""

    def change(recipe):
        recipe["stages"][1] |= {"matrix": matrix, **of_stage}
        if pick is not None:
            recipe["stages"][1]["pick"] = pick
        if later is not None:
            recipe["stages"].append({**copy.deepcopy(RECIPE["stages"][1]), "name": "last", **later})

    return change


TWO = {"beta": [0.05, 0.5], "learning_rate": [1e-4, 1e-3]}
BY_LOSS = {"metric": "loss"}


def test_a_combination_a_variant_in_the_order_of_the_file_the_last_axis_fastest(read):
    plan = read(with_matrix(TWO, BY_LOSS)).plan
    assert [stage.name for stage in plan.stages] == ["sft", "dpo.1", "dpo.2", "dpo.3", "dpo.4", "dpo"]
    assert [(s.config["beta"], s.config["learning_rate"]) for s in plan.stages[1:5]] == [
        *((0.05, 1e-4), (0.05, 1e-3), (0.5, 1e-4), (0.5, 1e-3)),
    ]
    variants, pick = plan.stages[1:5], plan.stages[5]
    assert {stage.parent for stage in plan.stages[1:]} == {"sft"}
    assert {stage.handover for stage in variants} == {Handover.CONTINUE}
    assert [stage.variant.settings for stage in variants][3] == {"beta": 0.5, "learning_rate": 1e-3}
    assert pick.pick.variants == tuple(stage.name for stage in variants) and pick.pick.metric == "loss"
    assert {stage.at for stage in plan.stages[1:]} == {"/stages/1"}
    assert plan.document["stages"][1]["matrix"] == TWO, "the manifest keeps the recipe as it is written"


def test_the_axes_are_fields_of_the_config_the_seed_and_fields_of_the_adapter(read):
    plan = read(with_matrix({"adapter.r": [4, 8], "/config/beta": [0.3], "seed": [1, 7]}, BY_LOSS)).plan
    variants = [stage for stage in plan.stages if stage.variant is not None]
    assert [(s.adapter.lora["r"], s.config["beta"], s.seed) for s in variants] == [
        *((4, 0.3, 1), (4, 0.3, 7), (8, 0.3, 1), (8, 0.3, 7)),
    ]
    assert [plan.seed_of(stage) for stage in plan.stages[:2]] == [7, 1]
    assert [stage.handover for stage in variants][::2] == [Handover.MERGE, Handover.CONTINUE]


@pytest.mark.parametrize(
    ("key", "steps"),
    [
        ("beta", ("config", "beta")),
        ("config.beta", ("config", "beta")),
        ("/adapter/r", ("adapter", "r")),
        ("seed", ("seed",)),
        ("data.train", None),
        ("adapter.rank_pattern.q", None),
        ("/config", None),
        ("", None),
        ("config.", None),
    ],
)
def test_what_an_axis_may_be(key, steps):
    assert steps_of(key) == steps


def test_without_a_pick_there_is_nothing_under_the_stage_s_own_name(read):
    checks = [{"metric": "loss", "max": 9}]
    plan = read(with_matrix(TWO, later={"from": "dpo.2"}, checks=checks)).plan
    assert [stage.name for stage in plan.stages][-2:] == ["dpo.4", "last"]
    assert plan.stages[-1].parent == "dpo.2"
    assert all(stage.checks for stage in plan.stages if stage.variant is not None)
    assert [stage.name for stage in plan.upto("dpo")][-1] == "dpo.4"
    assert plan.stage_names == ["sft", "dpo.1", "dpo", "dpo.2", "dpo.3", "dpo.4", "last"]


def test_later_stages_go_on_from_the_picked_one_which_the_checks_are_asked_of(read):
    plan = read(with_matrix(TWO, BY_LOSS, later={}, checks=[{"metric": "loss", "max": 9}])).plan
    assert plan.stage("last").parent == "dpo"
    assert [bool(stage.checks) for stage in plan.stages] == [False] * 5 + [True, False]
    assert [stage.name for stage in plan.upto("dpo")][-1] == "dpo"
    assert [stage.name for stage in plan.upto("dpo.2")][-1] == "dpo.2"


KEPT = {"metric": "perplexity", "max_increase": 0.1}


@pytest.mark.parametrize(
    "keep", [[KEPT], KEPT, {"perplexity": {"max_increase": 0.1}}], ids=["list", "one", "by metric"]
)
def test_what_has_to_be_kept_is_a_check_a_list_of_them_or_bounds_by_metric(read, keep):
    (pick,) = (stage.pick for stage in read(with_matrix(TWO, BY_LOSS | {"keep": keep})).plan.stages[-1:])
    assert [(check.metric, check.max_increase) for check in pick.keep] == [("perplexity", 0.1)]
    assert pick.keep[0].at.startswith("/stages/1/pick/keep")


def test_an_axis_goes_before_the_value_in_the_config_and_that_is_said(read):
    reading = read(with_matrix({"learning_rate": [1e-5, 1e-4]}))
    assert [stage.config["learning_rate"] for stage in reading.plan.stages[1:]] == [1e-5, 1e-4]
    (told,) = reading.diagnostics
    assert told.code == "unused-key" and "the matrix gives its values" in told.message


def test_a_matrix_by_the_command_line(read):
    change = with_matrix({"beta": [1.0, 2.0]}, BY_LOSS)
    plan = read(change, overrides=["stages.dpo.matrix.beta=[0.1, 0.2, 0.3]"]).plan
    assert [stage.config.get("beta") for stage in plan.stages] == [None, 0.1, 0.2, 0.3, 0.1]
    reading = read(change, overrides=["stages.dpo.matrix.beta=[0.1, -1]"])
    (told,) = (d for d in reading.diagnostics if d.code == "out-of-range")
    assert told.location.file == "--set" and told.pointer == "/stages/1/matrix/beta/1"


def test_faults_of_values_are_at_the_value_and_those_of_fields_at_the_axis_or_the_field(read, tmp_path):
    read(with_matrix({"beta": [0.1, -1, "x"], "label_smoothing": [0.1]}))
    text = (tmp_path / "recipe.json").read_text().splitlines()
    told = {d.pointer: d for d in read_recipe(tmp_path / "recipe.json").diagnostics}
    for pointer, value in (("/stages/1/matrix/beta/1", "-1"), ("/stages/1/matrix/beta/2", '"x"')):
        where = told[pointer].location
        assert text[where.line - 1][where.column - 1 :].startswith(value)
    alone = told["/stages/1/matrix/label_smoothing/0"]
    assert alone.code == "unused-key" and "label_smoothing" in alone.message


def test_what_is_wrong_with_all_variants_is_said_once_of_the_stage(read):
    reading = read(with_matrix(TWO, data="trian"))
    assert [(d.code, d.pointer) for d in reading.diagnostics if d.code == "unknown-data"] == [
        ("unknown-data", "/stages/1/data")
    ]
    reading = read(with_matrix(TWO, method="grpo"))
    assert [d.message for d in reading.errors if d.code == "missing-reward"] == [
        'stage "dpo" (grpo) needs a reward'
    ]


def test_a_reader_of_a_manifest_sees_the_same_stages():
    stages = copy.deepcopy(RECIPE["stages"])
    stages[1] |= {"matrix": TWO, "pick": BY_LOSS, "checks": []}
    made = expanded_stages(stages)
    assert [stage["name"] for stage in made] == ["sft", "dpo.1", "dpo.2", "dpo.3", "dpo.4", "dpo"]
    assert [("pick" in stage, "checks" in stage, "matrix" in stage) for stage in made[4:]] == [
        (False, False, False),
        (True, True, False),
    ]
    assert expanded_stages(json.loads('[1, {"name": "a", "matrix": 5}]')) == [{"name": "a", "matrix": 5}]
    assert expanded(RECIPE["stages"]).origins == {}


def test_what_stands_behind_a_matrix_has_its_place_in_the_file(read):
    checks = [{"metric": "loss", "max": 9}]
    last = {"adapter": {"r": 8}, "checks": checks}
    plan = read(with_matrix(TWO, BY_LOSS | {"keep": checks}, later=last, checks=checks)).plan
    stage, pick = plan.stage("last"), plan.stage("dpo")
    assert (stage.at, stage.adapter.at, stage.checks[0].at) == (
        *("/stages/2", "/stages/2/adapter", "/stages/2/checks/0"),
    )
    assert (pick.checks[0].at, pick.pick.at) == ("/stages/1/checks/0", "/stages/1/pick")
    assert pick.pick.keep[0].at == "/stages/1/pick/keep/0"
    assert plan.stage("dpo.3").adapter.at == "/adapter" and plan.compute.at == "/compute"
