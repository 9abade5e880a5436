"""What a merge is in a plan: its parts, what their sum is, and what goes on from it."""

import copy
import json

from support.small import RECIPE

from ptspec.recipe.plan import Handover


def merging(of, *, adapter=None, later=None, b=None):
    """Two stages from the base, "a" and "b", and the merge of `of`; `later`: a stage behind it."""

    def change(recipe):
        stage = recipe["stages"][0]
        two = [{**copy.deepcopy(stage), "name": name, "from": "base"} for name in ("a", "b")]
        two[1] |= b or {}
        recipe["stages"] = [*two, {"name": "soup", "method": "merge", "of": of}]
        if adapter is not None:
            recipe["adapter"] = adapter
        if later is not None:
            recipe["stages"].append({**copy.deepcopy(RECIPE["stages"][1]), "name": "last", **later})

    return change


def codes(reading):
    return [(one.code, one.pointer) for one in reading.errors]


FULL = {"use_lora": False}


def test_a_sum_of_adapters_has_all_their_ranks_and_is_where_the_next_stage_begins(read):
    plan = read(merging({"a": 0.9, "b": -0.1}, later={}, b={"adapter": {"r": 4}})).plan
    soup, last = plan.stages[2:]
    assert soup.merge.of_adapters and soup.merge.words == "0.9 × a - 0.1 × b"
    assert [(part.name, part.weight) for part in soup.merge.parts] == [("a", 0.9), ("b", -0.1)]
    assert soup.adapter.lora["r"] == 12 and not soup.trains and soup.parent == "a"
    assert last.parent == "soup" and last.handover is Handover.MERGE and last.has_reference
    assert [stage.name for stage in plan.trained] == ["a", "b", "last"]


def test_ranks_that_a_merge_or_a_sum_left_count_whole(read):
    def change(recipe):
        merging({"a": 0.5, "b": 0.5}, b={"adapter": {"r": 4}})(recipe)
        recipe["stages"].append({**copy.deepcopy(RECIPE["stages"][0]), "name": "c", "from": "soup"})
        recipe["stages"].append({"name": "both", "method": "merge", "of": {"soup": 0.5, "c": 0.5}})

    both = read(change).plan.stages[-1]
    assert both.adapter.lora["r"] == 12 + (12 + 8), "c saved the soup's adapter and its own as one"


def test_full_weights_have_to_count_once_and_the_base_may_be_one_of_them(read):
    plan = read(merging({"a": 0.25, "base": 0.75}, adapter=FULL)).plan
    assert not plan.stages[2].merge.of_adapters and not plan.stages[2].adapter.use_lora
    assert codes(read(merging({"a": 1, "b": 1}, adapter=FULL))) == [("merge-weights", "/stages/2/of")]
    assert read(merging({"a": 1.5, "b": -0.5}, adapter=FULL)).plan is not None
    thirds = {"a": 0.333333, "b": 0.333333, "base": 0.333333}
    assert read(merging(thirds, adapter=FULL)).plan is not None, "as precisely as the hint writes it"


def test_what_adapters_stand_on_is_a_part_without_an_update(read):
    plan = read(merging({"base": 0.5, "a": 0.5})).plan
    assert plan.stages[2].merge.of_adapters and plan.stages[2].adapter.lora["r"] == 8
    assert codes(read(merging({"base": 0.5, "a": 0.6}))) == [("merge-weights", "/stages/2/of")]


def test_one_place_of_a_merge_can_be_set_from_the_command_line(read):
    plan = read(merging({"a": 0.5, "b": 0.5}), overrides=["stages.soup.of.a=0.25"]).plan
    assert [part.weight for part in plan.stages[2].merge.parts] == [0.25, 0.5]


def test_adapters_from_outside_stand_on_the_base_that_their_config_names(read, tmp_path):
    def saved(name, base):
        folder = tmp_path / name
        folder.mkdir()
        config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "base_model_name_or_path": base}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return str(folder)

    here, elsewhere = saved("here", RECIPE["model"]["path"]), saved("elsewhere", "some/model")
    soup = read(merging({here: 1, "a": 1})).plan.stages[2]
    assert soup.merge.of_adapters and soup.adapter.lora["r"] == 11 and soup.parent == here
    (error,) = read(merging({"a": 1, elsewhere: 1})).errors
    assert error.code == "merge-mixed" and 'stands on "some/model"' in error.message
