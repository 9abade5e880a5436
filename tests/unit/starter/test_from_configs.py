"""Real configs of other programs become recipes that validate, and no key of theirs is lost in silence."""

from __future__ import annotations

import json

import pytest
import yaml
from support.small import ROOT, pt

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import InputError
from ptspec.report.converted import as_lines
from ptspec.starter.from_configs.convert import converted
from ptspec.starter.from_configs.draft import Draft

CONFIGS = ROOT / "tests" / "configs"
ROWS_ARE_NOT_HERE = "llamafactory/qwen3_lora_pretrain.yaml"
FILES = sorted(
    name
    for file in CONFIGS.rglob("*.y*ml")
    if (name := file.relative_to(CONFIGS).as_posix()) != ROWS_ARE_NOT_HERE
)
SAYS_NO_METHOD = {"trl/example_config.yaml": ["sft"]}
NEEDS_A_MACHINE = ("not-here", "learning-rate-low", "learning-rate-high", "unused-key", "unreadable-dataset")
"""Warnings of what the machine lacks, and of what stands in the published files themselves."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(ROOT)


def convert(*names, target=ROOT / "recipe.json"):
    return converted([CONFIGS / name for name in names], SAYS_NO_METHOD.get(names[0], []), target)


def written(made, folder):
    file = folder / "recipe.json"
    file.write_text(json.dumps(made.recipe))
    return file


def keys(values, inside=("trl", "special_tokens")):
    """The keys of a config, with those inside of sections whose keys are told one by one."""
    for key, value in values.items():
        if key in inside and isinstance(value, dict):
            yield from value if key == "trl" else (f"{key}.{name}" for name in value)
        else:
            yield key


def test_there_are_five_of_each_program():
    folders = [name.partition("/")[0] for name in FILES]
    assert all(folders.count(name) >= 5 for name in ("axolotl", "llamafactory", "handbook", "trl"))


@pytest.mark.parametrize("name", FILES)
def test_a_real_config_becomes_a_valid_recipe_and_every_key_is_reported(name, tmp_path):
    made = convert(name)
    reading = preflight(written(made, tmp_path))
    assert reading.errors == ()
    assert [told for told in reading.diagnostics if told.code not in NEEDS_A_MACHINE] == []
    (draft,) = made.drafts
    told = {one.key for one in (*draft.carried, *draft.left)} | set(draft.nothing)
    given = yaml.safe_load((CONFIGS / name).read_text())
    assert [key for key in keys(given) if key not in told] == []
    assert [one.key for one in draft.left if not one.why.strip()] == []
    assert all(one.key.partition(".")[0] in "\n".join(as_lines([draft])) for one in draft.left)


SAME = {
    "axolotl/instruct-dpo-lora-8b.yml": ("axolotl_dpo_lora_8b", "dpo"),
    "axolotl/qlora-1b-kto.yaml": ("axolotl_kto_qlora_1b", "kto"),
    "axolotl/reward-model.yaml": ("axolotl_reward_0_5b", "rm"),
    "llamafactory/qwen3_lora_sft.yaml": ("llamafactory_qwen3_4b", "sft"),
    "llamafactory/qwen3_lora_dpo.yaml": ("llamafactory_qwen3_4b", "dpo"),
    "llamafactory/qwen3_lora_kto.yaml": ("llamafactory_qwen3_4b", "kto"),
    "llamafactory/qwen3_lora_reward.yaml": ("llamafactory_qwen3_4b", "rm"),
    "handbook/zephyr-7b-beta/sft/config_full.yaml": ("zephyr_7b_full", "sft"),
    "handbook/zephyr-7b-beta/dpo/config_full.yaml": ("zephyr_7b_full", "dpo"),
    "handbook/zephyr-7b-beta/sft/config_qlora.yaml": ("zephyr_7b_qlora", "sft"),
    "handbook/zephyr-141b-A35b/orpo/config_full.yaml": ("zephyr_orpo_141b", "orpo"),
    "handbook/smollm3/dpo/apo.yaml": ("smollm3", "apo"),
    "open-r1/Qwen2.5-Coder-7B-Instruct/grpo/config_codeforces.yaml": ("openr1_codeforces_7b", "grpo"),
    "trl/example_config.yaml": ("trl_sft_imdb", "sft"),
}
BY_HAND = {
    "smollm3": ("gradient_accumulation_steps",),
}
"""What the recipe written by hand says otherwise than its source, for the reasons in docs/published.md."""


@pytest.mark.parametrize("name", SAME)
def test_it_says_what_the_recipe_written_by_hand_says(name):
    recipe, stage = SAME[name]
    hand = json.loads((ROOT / "recipes" / "published" / f"{recipe}.json").read_text())
    expected = next(one for one in hand["stages"] if one["name"] == stage)
    made = convert(name).recipe
    ours = made["stages"][0]
    assert ours["method"] == expected["method"]
    unlike = {
        key: (value, ours["config"].get(key))
        for key, value in expected["config"].items()
        if ours["config"].get(key) != value and key not in ("bf16", *BY_HAND.get(recipe, ()))
    }
    assert unlike == {}
    for key, value in {**hand.get("adapter", {}), **expected.get("adapter", {})}.items():
        assert made.get("adapter", {}).get(key, False) == value, key


def test_two_configs_are_two_stages_over_one_model_and_adapter():
    made = convert(
        "handbook/zephyr-7b-beta/sft/config_qlora.yaml", "handbook/zephyr-7b-beta/dpo/config_qlora.yaml"
    )
    recipe, (sft, dpo) = made.recipe, made.recipe["stages"]
    assert recipe["model"]["path"] == "mistralai/Mistral-7B-v0.1"
    assert (recipe["adapter"]["r"], dpo["adapter"]) == (16, {"r": 128, "lora_alpha": 128})
    assert (sft["data"], dpo["data"], dpo["eval_data"]) == ("train", "train_dpo", "heldout_dpo")
    assert "from" not in dpo and recipe["data"]["train_dpo"]["split"] == "train_prefs"
    told = "\n".join(made.drafts[1].differs)
    assert "starts from alignment-handbook/zephyr-7b-sft-qlora" in told and '{"r": 128' in told


def test_two_configs_over_the_same_model_say_that_the_second_goes_on(tmp_path):
    made = convert("llamafactory/qwen3_lora_sft.yaml", "llamafactory/qwen3_lora_dpo.yaml")
    assert "adapter" not in made.recipe["stages"][1]
    assert any('"from": "base"' in told for told in made.drafts[1].differs)
    assert preflight(written(made, tmp_path)).errors == ()


def config(folder, text, name="x.yaml"):
    file = folder / name
    file.write_text(text)
    return file


def one(folder, text, *asked):
    made = converted([config(folder, text)], list(asked), folder / "recipe.json")
    return made.recipe, made.drafts[0]


AXOLOTL = "base_model: org/model\ndatasets: [{path: org/rows, type: chat_template, field_messages: turns}]\n"


def test_what_axolotl_takes_by_itself_is_written_out(tmp_path):
    recipe, draft = one(tmp_path, AXOLOTL + "learning_rate: 2e-5\n")
    config = recipe["stages"][0]["config"]
    assert (config["learning_rate"], config["max_length"], config["num_train_epochs"]) == (2e-5, 512, 1.0)
    assert config["assistant_only_loss"] is True and config["per_device_train_batch_size"] == 1
    assert recipe["data"]["train"] == {"path": "org/rows", "columns": {"messages": "turns"}}
    assert any("max_length 512 is axolotl's default" in told for told in draft.differs)


def test_a_key_that_a_rule_refuses_is_taken_out_and_reported(tmp_path):
    recipe, draft = one(tmp_path, AXOLOTL + "rl: ipo\nlr_scheduler: nonsense\nlearning_rate: 1e-6\n")
    assert recipe["stages"][0]["config"]["loss_type"] == "ipo"
    assert "lr_scheduler_type" not in recipe["stages"][0]["config"]
    (left,) = [one for one in draft.left if one.key == "lr_scheduler"]
    assert left.value == "nonsense" and "lr_scheduler" in left.why
    assert "lr_scheduler" not in {one.key for one in draft.carried}


def test_a_refused_setting_of_the_model_is_described_the_file_that_gave_it(tmp_path):
    first = config(tmp_path, "model_name_or_path: o/m\ndataset_name: o/r\n", "sft.yaml")
    second = config(tmp_path, "model_name_or_path: o/m\ndataset_name: o/p\ndtype: int3\n", "dpo.yaml")
    made = converted([first, second], [], tmp_path / "recipe.json")
    assert "dtype" not in made.recipe["model"] and [one.key for one in made.drafts[1].left] == ["dtype"]
    assert made.drafts[0].left == [] and made.recipe["data"]["train_dpo"] == {"path": "o/p"}


@pytest.mark.parametrize(
    ("size", "kept", "held"),
    [("0.05", "train[:95%]", "train[95%:]"), ("200", "train[200:]", "train[:200]")],
)
def test_rows_held_out_are_not_trained_on(size, kept, held, tmp_path):
    recipe, _ = one(tmp_path, AXOLOTL + f"val_set_size: {size}\n")
    assert (recipe["data"]["train"]["split"], recipe["data"]["heldout"]["split"]) == (kept, held)
    assert recipe["stages"][0]["eval_data"] == recipe["eval"]["data"] == "heldout"


def test_lora_keys_without_an_adapter_are_reported_as_without_effect(tmp_path):
    text = "model_name_or_path: org/model\ndataset_name: org/rows\nlora_r: 32\nload_in_4bit: true\n"
    recipe, draft = one(tmp_path, text, "sft")
    assert "adapter" not in recipe
    assert {left.key for left in draft.left} == {"lora_r", "load_in_4bit"}


def test_trl_s_own_adapter_defaults_are_written_out(tmp_path):
    recipe, _ = one(tmp_path, "model_name_or_path: o/m\ndataset_name: o/r\nuse_peft: true\n", "sft")
    assert recipe["adapter"] == {"use_lora": True, "r": 16, "lora_alpha": 32, "lora_dropout": 0.05}


def test_a_secret_is_not_shown():
    draft = convert("trl/sft_config.yaml").drafts[0]
    told = Draft(draft.file, draft.program, draft.method, {})
    told.leave("hub_token", "hf_abcdefghijklmnop", "why")
    assert "hf_abc" not in "".join(as_lines([told])) and "hub_token …: why" in "".join(as_lines([told]))


WRONG = {
    "a: [1": ("unreadable-config", "is not YAML"),
    "": ("unreadable-config", "is empty"),
    "- a": ("unreadable-config", "holds no keys"),
    "a: 1": ("unreadable-config", "none of axolotl, LLaMA-Factory"),
    "model_name_or_path: o/m\ndataset_name: o/r": ("unknown-method", "does not say"),
    "model_name_or_path: o/m\nstage: ppo\ndataset: identity": ("unknown-method", 'trains with "ppo"'),
    AXOLOTL + "process_reward_model: true": ("unknown-method", "process_reward_model"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_config_that_makes_no_recipe_says_why(text, tmp_path):
    code, words = WRONG[text]
    with pytest.raises(InputError) as caught:
        one(tmp_path, text)
    (told,) = caught.value.diagnostics
    assert told.code == code and words in told.message and told.hint and told.location.file.endswith("x.yaml")


@pytest.mark.parametrize("wrong", [[{"a": 1}], {"a": 1}, "x", 7, [], False], ids=str)
@pytest.mark.parametrize("name", ["axolotl/qlora-1b-gdpo.yaml", "llamafactory/qwen3_lora_dpo.yaml"])
def test_a_value_of_another_kind_is_reported_or_refused(name, wrong, tmp_path):
    given = yaml.safe_load((CONFIGS / name).read_text())
    for key in given:
        try:
            _, draft = one(tmp_path, yaml.safe_dump({**given, key: wrong}))
        except InputError as error:
            assert all(told.location is not None for told in error.diagnostics), key
            continue
        told = {left.key.partition(".")[0] for left in (*draft.carried, *draft.left)} | set(draft.nothing)
        assert key in told or key == "trl", key


def test_rows_that_are_not_here_are_reported_at_the_config():
    with pytest.raises(InputError) as caught:
        convert(ROWS_ARE_NOT_HERE)
    (told,) = caught.value.diagnostics
    assert told.code == "no-such-data" and "c4_demo" in told.message
    assert told.location.file.endswith(ROWS_ARE_NOT_HERE)


def test_the_command_writes_the_recipe_and_says_what_it_left(tmp_path):
    file = CONFIGS / "axolotl" / "lora-1b.yml"
    done = pt("init", "--from", str(file), "-o", str(tmp_path / "r.json"))
    assert done.code == 0, done.stderr
    assert "loss_watchdog_threshold 5.0" in done.stderr and "pt validate" in done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["model"]["path"] == "NousResearch/Llama-3.2-1B"
    again = pt("init", "--from", str(file), "-o", str(tmp_path / "r.json"))
    assert again.code == 2 and "file-exists" in again.stderr
    both = pt("init", "rows.csv", "--from", str(file), "-o", str(tmp_path / "s.json"))
    assert both.code == 2 and "wrong-usage" in both.stderr
    stages = pt("init", "--method", "sft_dpo", "--from", str(file), "-o", str(tmp_path / "s.json"))
    assert stages.code == 2 and "2 stages" in stages.stderr
    assert not (tmp_path / "s.json").exists()
