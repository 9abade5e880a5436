"""The arithmetic of `pt plan` against the libraries that it foretells: TRL, transformers, PEFT, torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ptspec import methods
from ptspec.data.layouts.convert import Reading, to_trl
from ptspec.data.layouts.table import layout_for
from ptspec.data.readers.scan import scan
from ptspec.data.tokens.cuts import cuts
from ptspec.data.tokens.lengths import lengths
from ptspec.data.tokens.template import TokenizerFiles, read_tokenizer
from ptspec.estimate.adapters import new_adapter, stage_adapter
from ptspec.estimate.files import safetensors_bytes
from ptspec.estimate.memory import head_bytes, layer_bytes
from ptspec.estimate.optimizer import state_bytes
from ptspec.estimate.steps import count
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Handover, ModelSpec, Performance, Stage
from ptspec.recipe.shape import ModelShape, read_shape
from ptspec.recipe.sources import Source

ROOT = Path(__file__).parent.parent.parent
MODEL = ROOT / "data" / "base_model"
ROWS = 45

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def libraries():
    import os

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import peft
    import torch
    import transformers
    import trl

    torch.set_num_threads(1)
    return {"torch": torch, "transformers": transformers, "trl": trl, "peft": peft}


@pytest.fixture
def base(libraries):
    auto = libraries["transformers"].AutoModelForCausalLM
    return auto.from_pretrained(MODEL, dtype=libraries["torch"].float32)


@pytest.fixture(scope="module")
def tokenizer(libraries):
    return libraries["transformers"].AutoTokenizer.from_pretrained(MODEL)


def stage(method: str, **config: object) -> Stage:
    return Stage("s", methods.get(method), "base", None, "train", AdapterSpec(True), config=config)


def settings(method: str, **config: object) -> EffectiveConfig:
    return EffectiveConfig(stage(method, **config), ComputeSpec(), gpu=False)


def source(limit: int = ROWS, chat: bool = True) -> Source:
    return Source("train", (ROOT / "data" / "train.jsonl",), limit=limit, chat=chat)


def dataset(method: str, limit: int = ROWS, chat: bool = True):
    import datasets

    rows = methods.get(method).rows
    raw = [row.values for row in scan(source(limit, chat))]
    shape = layout_for(rows, frozenset(raw[0]))
    return datasets.Dataset.from_list([one for row in raw for one in to_trl(row, rows, shape, Reading(chat))])


def trainer(method: str, base, tokenizer, tmp_path, *, limit: int = ROWS, chat: bool = True, **config):
    from pkgutil import resolve_name

    found = methods.get(method)
    arguments = resolve_name(found.config)(
        output_dir=str(tmp_path),
        report_to=[],
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        **config,
    )
    more = {"reward_funcs": [lambda completions, **_: [0.0] * len(completions)]} if found.online else {}
    if method == "reward":
        from transformers import AutoModelForSequenceClassification

        base = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1)
        base.config.pad_token_id = tokenizer.pad_token_id
    return resolve_name(found.trainer)(
        model=base,
        args=arguments,
        train_dataset=dataset(method, limit, chat),
        processing_class=tokenizer,
        **more,
    )


OFFLINE = [
    {"per_device_train_batch_size": 8},
    {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4},
    {"per_device_train_batch_size": 7, "gradient_accumulation_steps": 3, "num_train_epochs": 2.5},
    {"per_device_train_batch_size": 7, "dataloader_drop_last": True, "num_train_epochs": 1},
    {"per_device_train_batch_size": 16, "max_steps": 11},
]
ONLINE = [
    {"per_device_train_batch_size": 8, "num_generations": 4},
    {"per_device_train_batch_size": 8, "num_generations": 8, "gradient_accumulation_steps": 2},
    {"per_device_train_batch_size": 4, "num_generations": 2, "steps_per_generation": 3, "num_iterations": 2},
    {
        "per_device_train_batch_size": 4,
        "num_generations": 8,
        "generation_batch_size": 16,
        "num_train_epochs": 2,
    },
    {"per_device_train_batch_size": 4, "num_generations": 4, "max_steps": 5},
]


@pytest.mark.parametrize(
    ("method", "config"), [("sft", c) for c in OFFLINE] + [("grpo", c) for c in ONLINE], ids=str
)
def test_steps_are_those_of_the_trainer(libraries, base, tokenizer, tmp_path, method, config):
    made = trainer(method, base, tokenizer, tmp_path, **config)
    expected = made.set_initial_training_values(made.args, made.get_train_dataloader())[-1]
    assert count(settings(method, **config), ROWS).total == expected


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo", "cpo", "reward"])
def test_tokens_are_those_of_the_trainer(libraries, base, tokenizer, tmp_path, method, chat):
    made = trainer(method, base, tokenizer, tmp_path, chat=chat, per_device_train_batch_size=8)
    ours = list(lengths(source(chat=chat), settings(method), read_tokenizer(MODEL)))
    assert sorted(row.tokens for row in ours) == sorted(map(trl_tokens, made.train_dataset))


def trl_tokens(row) -> int:
    """Tokens of all sequences of a tokenised row, by the names that the trainers of TRL 1.16 give them."""
    if "prompt_ids" in row and "chosen_ids" in row:
        return 2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])
    if "completion_ids" in row:
        return len(row["prompt_ids"]) + len(row["completion_ids"])
    if "chosen_input_ids" in row:
        return len(row["chosen_input_ids"]) + len(row["rejected_input_ids"])
    return len(row["input_ids"]) if "input_ids" in row else len(row["chosen_ids"]) + len(row["rejected_ids"])


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("most", [10, 13, 16, 24, 40])
@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo", "cpo", "reward"])
def test_rows_left_are_those_of_the_trainer(libraries, base, tokenizer, tmp_path, method, most, mode):
    config = {"max_length": most, "per_device_train_batch_size": 8}
    if method in ("sft", "dpo"):
        config["truncation_mode"] = mode
    elif mode == "keep_end":
        pytest.skip(f"{method} has no truncation_mode")
    stage_settings = settings(method, **config)
    found = cuts(lengths(source(), stage_settings, read_tokenizer(MODEL)), stage_settings)
    if not found.left:
        pytest.skip("every row is dropped, and the trainer fails")
    try:
        made = trainer(method, base, tokenizer, tmp_path, **config)
    except (StopIteration, IndexError) as error:
        pytest.fail(f"{found.left} rows should be left: {error!r}")
    assert len(made.train_dataset) == found.left


TEMPLATES = sorted(
    (Path(__import__("importlib").util.find_spec("trl").origin).parent / "chat_templates").glob("*.jinja")
)
CHAT = [
    {"role": "user", "content": "Where does Mira live?"},
    {"role": "assistant", "content": "In Tarn."},
    {"role": "user", "content": "And Noben?"},
]


@pytest.mark.parametrize("template", [MODEL / "chat_template.jinja", *TEMPLATES], ids=lambda path: path.name)
def test_a_template_renders_as_in_transformers(tokenizer, template):
    text = template.read_text("utf-8")
    files = TokenizerFiles(MODEL, text, read_tokenizer(MODEL).special)
    for prompt in (False, True):
        try:
            expected = tokenizer.apply_chat_template(
                CHAT, chat_template=text, tokenize=False, add_generation_prompt=prompt
            )
        except Exception:
            pytest.skip("the template needs what this chat does not have")
        assert files.render(CHAT, prompt=prompt) == expected


ADAPTERS = [
    {"target_modules": "all-linear", "r": 16},
    {"target_modules": "ALL-LINEAR", "r": 4, "use_rslora": True},
    {"target_modules": ["q_proj", "down_proj"], "r": 4, "rank_pattern": {"q_proj": 2}},
    {"target_modules": r".*layers\.[13]\..*proj", "r": 3},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
    {"target_modules": ["v_proj"], "layers_to_transform": 1, "layers_pattern": "layers"},
    {
        "target_modules": ["model.layers.0.mlp.up_proj", "k_proj"],
        "exclude_modules": ["layers.1.self_attn.k_proj"],
    },
    {"target_modules": "all-linear", "use_dora": True},
    {"target_modules": "all-linear", "modules_to_save": ["norm"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    {"target_modules": ["o_proj"], "lora_bias": True},
    {},
]


@pytest.mark.parametrize("lora", ADAPTERS, ids=json.dumps)
def test_an_adapter_is_what_peft_makes(libraries, base, tmp_path, lora):
    model = libraries["peft"].get_peft_model(
        base, libraries["peft"].LoraConfig(task_type="CAUSAL_LM", **lora)
    )
    ours = new_adapter(AdapterSpec(True, lora=lora), read_shape(MODEL))
    assert ours.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.save_pretrained(tmp_path)
    assert safetensors_bytes(ours.tensors("F32")) == (tmp_path / "adapter_model.safetensors").stat().st_size


def test_an_adapter_of_two_halves_is_what_is_trained_and_saved(libraries, base, tmp_path):
    from ptspec.model.split_adapter import split_adapter

    lora = {
        "target_modules": "all-linear",
        "r": 4,
        "rank_pattern": {"q_proj": 2},
        "init_lora_weights": "pissa",
    }
    spec = AdapterSpec(True, lora=lora)
    config = libraries["peft"].LoraConfig(task_type="CAUSAL_LM", **lora)
    model, _ = split_adapter(base, config, seed=1, at="/adapter")
    first = stage_adapter(
        Stage("a", methods.get("sft"), "base", None, "train", spec), read_shape(MODEL), None
    )
    assert first.attached == first.saved
    model.save_pretrained(tmp_path)
    assert (
        safetensors_bytes(first.saved.tensors("F32"))
        == (tmp_path / "adapter_model.safetensors").stat().st_size
    )
    learnt = sum(p.numel() for p in model.parameters() if p.requires_grad) / 2
    assert first.trained == learnt
    going_on = Stage("b", methods.get("dpo"), "a", Handover.CONTINUE, "train", spec)
    assert stage_adapter(going_on, read_shape(MODEL), first.saved).trained == learnt


def test_the_shipped_model_has_the_size_that_is_counted():
    file = MODEL / "model.safetensors"
    assert safetensors_bytes(read_shape(MODEL).tensors) == file.stat().st_size


def test_a_model_with_new_tokens_has_the_parameters_that_are_counted(libraries, base):
    base.resize_token_embeddings(base.config.vocab_size + 3)
    grown = read_shape(MODEL).grown(base.config.vocab_size)
    assert grown.parameters == sum(parameter.numel() for parameter in base.parameters())


@pytest.mark.parametrize(
    "optim", ["adamw_torch", "adafactor", "sgd", "adagrad", "adamw_bnb_8bit", "lion_8bit"]
)
def test_optimizer_states_are_those_that_are_kept(libraries, base, optim):
    torch, trainer_class = libraries["torch"], libraries["transformers"].Trainer
    arguments = libraries["transformers"].TrainingArguments(
        output_dir="none", optim=optim, use_cpu=True, report_to=[]
    )
    weights = [torch.nn.Parameter(torch.randn(size)) for size in [(64, 96), (16, 128), (128,), (256, 64)]]
    made, options = trainer_class.get_optimizer_cls_and_kwargs(arguments)
    optimizer = made(weights, **options)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    # Step counters are one number a tensor; code books of 8-bit optimizers are shared by all of them.
    kept = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.dim() > 0 and not name.startswith("qmap")
    )
    assert state_bytes(optim, [tuple(weight.shape) for weight in weights], 4) == kept


def saved_bytes(torch, model, ids, mixed: bool) -> int:
    """Bytes of distinct storages that autograd keeps of a forward pass, parameters apart."""
    ours = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours and ids.numel() <= tensor.numel():
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed),
    ):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    return sum(storage.nbytes() for storage in kept.values())


def llama(libraries, layers: int, lora: bool, dtype: str):
    from trl.trainer.utils import add_fused_lm_head

    config = libraries["transformers"].LlamaConfig(
        hidden_size=128, intermediate_size=384, num_attention_heads=4, num_key_value_heads=2,
        num_hidden_layers=layers, vocab_size=512, tie_word_embeddings=False,
    )  # fmt: skip
    model = libraries["transformers"].LlamaForCausalLM(config).to(getattr(libraries["torch"], dtype))
    add_fused_lm_head(model)
    if lora:
        peft = libraries["peft"]
        model = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules="all-linear"))
    return model.train(), config


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("performance", Performance)
def test_activations_are_what_autograd_keeps(libraries, lora, mixed, performance):
    from ptspec.training.adapter_inputs import adapter_inputs

    torch, length = libraries["torch"], 512
    dtype = "bfloat16" if mixed and lora else "float32"
    totals = []
    for layers in (1, 3):
        model, config = llama(libraries, layers, lora, dtype)
        with adapter_inputs(performance is Performance.AUTO):
            totals.append(saved_bytes(torch, model, torch.randint(0, 512, (2, length)), mixed))
    a_token = (totals[1] - totals[0]) / 2 / (2 * length)
    shape = shape_of(model, config, dtype)
    spec = AdapterSpec(lora, lora={"r": 8, "target_modules": "all-linear"} if lora else {})
    one = EffectiveConfig(replace(stage("sft", bf16=mixed), adapter=spec), ComputeSpec(), gpu=False)
    from ptspec.estimate.adapters import stage_adapter

    model_spec = ModelSpec(str(MODEL), True, dtype=dtype)
    ours = layer_bytes(one, model_spec, shape, stage_adapter(one.stage, shape, None), length, performance)
    assert ours == pytest.approx(a_token, rel=0.08 if mixed and not lora else 0.02)


def test_logits_on_a_cpu_are_what_the_fused_head_holds(libraries):
    """The most bytes at once of its forward and backward pass over a vocabulary of more than one tile."""
    from support.live_bytes import LiveBytes
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    torch = libraries["torch"]
    rows, hidden, vocabulary = 64, 8, 49152
    states = torch.randn(rows, hidden, requires_grad=True)
    weight, targets = torch.randn(vocabulary, hidden), torch.randint(0, vocabulary, (rows,))
    with LiveBytes() as live:
        head = ChunkedLogProbFunction.apply(
            states, weight, None, targets, 1.0, 32768, None, 1.0, ("log_probs",)
        )
        head[0].sum().backward()
    spec = AdapterSpec(True, lora={"r": 8, "target_modules": "all-linear"})
    one = EffectiveConfig(
        replace(stage("sft", per_device_train_batch_size=rows), adapter=spec), ComputeSpec(), gpu=False
    )
    tensors = {"model.embed_tokens.weight": Tensor("F32", (vocabulary, hidden))}
    config = {"model_type": "llama", "hidden_size": hidden, "vocab_size": vocabulary, "num_hidden_layers": 1}
    ours = head_bytes(one, ModelShape(config, tensors), rows)
    assert ours == pytest.approx(live.peak - weight.nbytes, rel=0.03)


def shape_of(model, config, dtype: str) -> ModelShape:
    names = {"float32": "F32", "bfloat16": "BF16"}
    tensors = dict(_tensors(model, names[dtype]))
    return ModelShape(config.to_dict(), tensors)


def _tensors(model, dtype: str) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            yield plain, Tensor(dtype, tuple(parameter.shape))


def test_default_targets_are_those_of_peft():
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as theirs

    from ptspec.recipe.targets import defaults

    assert defaults() == theirs
