"""Reward models: scored in the tokens they are trained on, opened in every form, weights shared."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification
from trl import RewardConfig, RewardTrainer

from ptspec.diagnostics import InputError
from ptspec.model.base import load_base
from ptspec.model.device import Device
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.recipe.resolve import load_plan
from ptspec.rewards.models import BATCH, open_reward_model, open_reward_model_of

BASE = str(Path(__file__).parents[3] / "data" / "base_model")
CPU = Device("cpu", "cpu")
PAIRS = [
    ("Where does Mira live?", "In Tarn.", "Well now, let me think about that for a good while. Rome, maybe?"),
    ("Who is old?", "The man from the sea is old.", "No."),
    ("Say it.", "It.", "It, it, it and it."),
]


@pytest.fixture(scope="module")
def base():
    return load_base(ModelSpec(BASE, local=True), AdapterSpec(use_lora=True), CPU)


def classifier():
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=1, dtype=torch.float32)
    model.score.weight.data.normal_()
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a whole reward model and its tokenizer."""
    folder = tmp_path_factory.mktemp("whole")
    classifier().save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A folder with an adapter and a head over the base, as PEFT saves it; the scores it should give."""
    config = LoraConfig(
        task_type="SEQ_CLS", target_modules="all-linear", modules_to_save=["score"], init_lora_weights=False
    )
    model = get_peft_model(classifier(), config).eval()
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return str(folder), model


def turns(role, text):
    return [{"role": role, "content": text}]


def rows(chat):
    if not chat:
        return [{"prompt": p + " ", "chosen": c, "rejected": r} for p, c, r in PAIRS]
    return [
        {"prompt": turns("user", p), "chosen": turns("assistant", c), "rejected": turns("assistant", r)}
        for p, c, r in PAIRS
    ]


def trainers_logits(model, tokenizer, rows, folder):
    """What RewardTrainer's own forward pass gives for the chosen and the rejected of `rows`."""
    config = RewardConfig(
        output_dir=str(folder), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False
    )
    trainer = RewardTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(rows))])
    with torch.no_grad():
        _, outputs = trainer.compute_loss(trainer.model.eval(), batch, return_outputs=True)
    chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
    return chosen.tolist(), rejected.tolist()


@pytest.mark.parametrize("chat", [True, False])
def test_a_score_is_the_logit_that_reward_trainer_trains(whole, tmp_path, chat):
    reward = replace(open_reward_model(whole, CPU, at=""), chat=chat)
    given = rows(chat)
    chosen, rejected = trainers_logits(
        copy.deepcopy(reward.model).requires_grad_(True), copy.deepcopy(reward.tokenizer), given, tmp_path
    )
    prompts = [row["prompt"] for row in given]
    assert reward(prompts, [row["chosen"] for row in given]) == pytest.approx(chosen, abs=1e-5)
    assert reward(prompts, [row["rejected"] for row in given]) == pytest.approx(rejected, abs=1e-5)
    assert max(chosen) - min(chosen) > 0.1


def test_strings_are_scored_as_the_turns_the_loader_makes_of_them(whole):
    reward = open_reward_model(whole, CPU, at="")
    prompts, texts = [p for p, _, _ in PAIRS], [c for _, c, _ in PAIRS]
    as_turns = reward([turns("user", p) for p in prompts], [turns("assistant", t) for t in texts])
    assert reward(prompts, texts) == as_turns
    plain = replace(reward, chat=False)(prompts, texts)
    assert plain != pytest.approx(as_turns, abs=1e-3)


def test_a_score_depends_on_its_text_alone(whole):
    reward = open_reward_model(whole, CPU, at="")
    texts = [" ".join(["word"] * (1 + n * 7 % 23)) for n in range(2 * BATCH + 3)]
    prompts = ["Say it."] * len(texts)
    alone = [reward([p], [t])[0] for p, t in zip(prompts, texts, strict=True)]
    # Scores of the shipped base are about 20; float32 keeps seven digits of them.
    assert reward(prompts, texts) == pytest.approx(alone, rel=2e-6)
    assert reward(prompts, texts[::-1]) == pytest.approx(alone[::-1], rel=2e-6)
    assert reward([], []) == []


def test_opening_and_scoring_leave_random_numbers_and_gradients_alone(whole, adapter, base):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for path, over in ((whole, None), (adapter[0], None), (adapter[0], base)):
        reward = open_reward_model(path, CPU, at="", below=lambda path, over=over: over)
        reward(["a"], ["b"])
        assert torch.equal(torch.get_rng_state(), before)
        assert not reward.model.training
        assert not any(parameter.requires_grad for parameter in reward.model.parameters())


@pytest.mark.parametrize("shared", [True, False])
def test_an_adapter_scores_as_it_did_when_it_was_saved(adapter, base, shared):
    folder, model = adapter
    reward = open_reward_model(folder, CPU, at="", below=(lambda path: base) if shared else None)
    prompts, texts = [p for p, _, _ in PAIRS], [r for _, _, r in PAIRS]
    ids = [torch.tensor([reward.tokens(p, t)]) for p, t in zip(prompts, texts, strict=True)]
    with torch.no_grad():
        expected = [model(input_ids=row).logits.item() for row in ids]
    assert reward(prompts, texts) == pytest.approx(expected, abs=1e-5)
    own = {p.data_ptr() for p in base.model.model.parameters()}
    held = {p.data_ptr() for p in reward.model.parameters()}
    assert (own <= held) is shared


def test_sharing_leaves_the_base_as_it_was(adapter, base):
    ids = torch.arange(8)[None]
    with torch.no_grad():
        before = base.model(ids).logits
        open_reward_model(adapter[0], CPU, at="", below=lambda path: base)(["a"], ["b"])
        assert torch.equal(base.model(ids).logits, before)
    assert base.model.config.num_labels == 2
    assert not [name for name, _ in base.model.named_parameters() if "lora" in name]


def refused(path):
    with pytest.raises(InputError) as error:
        open_reward_model(str(path), CPU, at="/rewards/r")
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.pointer in ("/rewards/r/model", "/rewards/r")
    return diagnostic


def test_what_is_no_reward_model_is_reported(tmp_path, base):
    assert "it is a LlamaForCausalLM" in refused(BASE).message
    config = copy.deepcopy(base.model.config)
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "three")
    assert "it has 3 labels, not one" in refused(tmp_path / "three").message
    get_peft_model(base.spawn(), LoraConfig(target_modules="all-linear")).save_pretrained(tmp_path / "policy")
    assert "the adapter has no score head" in refused(tmp_path / "policy").message


def test_what_cannot_be_loaded_is_reported(tmp_path, whole):
    assert refused(tmp_path / "nothing").code == "cannot-load-model"
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((Path(whole) / name).read_bytes())
    (broken / "model.safetensors").write_bytes(b"\x00" * 64)
    assert refused(broken).code == "cannot-load-model"
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert refused(broken).code == "pickled-weights"


def test_an_adapter_whose_base_is_gone_is_reported(adapter, tmp_path):
    folder = tmp_path / "moved"
    folder.mkdir()
    for file in Path(adapter[0]).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(BASE, str(tmp_path / "gone")))
    found = refused(folder)
    assert found.code == "cannot-load-model"
    assert "gone" in found.message


COMMITS = {"main": "1" * 40, "v1": "2" * 40}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub cache with two revisions of a reward model and of an adapter, as downloads leave it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.manual_seed(1)
    for name, commit in COMMITS.items():
        model = classifier()
        model.score.weight.data.mul_(2.0 if name == "main" else 1.0)
        for repository in ("whole", "adapter"):
            cached = tmp_path / f"models--owner--{repository}"
            folder = cached / "snapshots" / commit
            (cached / "refs").mkdir(parents=True, exist_ok=True)
            (cached / "refs" / name).write_text(commit)
            if repository == "adapter":
                config = LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"])
                model = get_peft_model(model, config)
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
    return tmp_path


@pytest.mark.parametrize("repository", ["whole", "adapter"])
def test_the_revision_of_the_recipe_is_the_one_that_is_opened(hub, tmp_path, repository):
    recipe = {
        "model": BASE,
        "data": {"train": {"path": str(Path(BASE).parent / "train.jsonl")}},
        "rewards": {
            "now": {"model": f"owner/{repository}"},
            "then": {"model": f"owner/{repository}", "revision": "v1"},
        },
        "stages": [{"name": "sft", "method": "sft", "data": "train"}],
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    plan = load_plan(tmp_path / "recipe.json", output=tmp_path / "out")
    prompts, completions = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]
    now, then = (open_reward_model_of(plan, plan.rewards[name], CPU) for name in ("now", "then"))
    assert now(prompts, completions) == pytest.approx([2 * score for score in then(prompts, completions)])
    assert now(prompts, completions) != then(prompts, completions)
