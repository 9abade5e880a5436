"""What is read from the sources of transformers and PEFT, against what the libraries build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec import methods
from ptspec.architecture import auto, quantizers
from ptspec.architecture.modules import Kind, Modules
from ptspec.architecture.source import local_constant
from ptspec.estimate.adapters import new_adapter
from ptspec.estimate.files import safetensors_bytes
from ptspec.estimate.weights import weight_bytes
from ptspec.recipe import targets
from ptspec.recipe.adapter_settings import unlike_saved
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape, read_shape

pytestmark = pytest.mark.slow

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
LINEAR_ATTENTION = {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8,
    "linear_num_key_heads": 2, "linear_value_head_dim": 8, "linear_num_value_heads": 2,
}  # fmt: skip
SSM = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**SMALL, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
TOWER = {**VISION, "image_size": 28, "patch_size": 14}
PER_LAYER = {"vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
GEMMA4 = {**TEXT, **PER_LAYER, "global_head_dim": 8}

KINDS = {
    "llama": {"tie_word_embeddings": True},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "phi3": {"sliding_window": None},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8, "expand": 2},
    "mixtral": EXPERTS,
    "qwen3_moe": EXPERTS,
    "deepseek_v3": {**EXPERTS, **LATENT},
    "gpt_oss": {**EXPERTS, "sliding_window": 16},
    "qwen3_next": {**EXPERTS, **LINEAR_ATTENTION, "shared_expert_intermediate_size": 16},
    "granitemoehybrid": {**EXPERTS, **SSM, "layer_types": ["mamba", "attention"],
                         "shared_intermediate_size": 16},
    "gemma3": {"text_config": TEXT, "vision_config": TOWER, "mm_tokens_per_image": 1},
    "gemma4": {"text_config": GEMMA4, "vision_config": {**VISION, "num_key_value_heads": 2, "head_dim": 8},
               "audio_config": None},
    "qwen3_5": {"text_config": {**SMALL, **LINEAR_ATTENTION},
                "vision_config": {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
                                  "out_hidden_size": 32}},
}  # fmt: skip

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = [
    {"target_modules": "all-linear"},
    {"target_modules": SEVEN},
    {"target_modules": r".*\.(q_proj|down_proj|up_proj|gate_proj)"},
    {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    {},
]


@pytest.fixture(scope="module")
def libraries():
    import peft
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return {"torch": torch, "transformers": transformers, "peft": peft}


@pytest.fixture(scope="module")
def folder(libraries, tmp_path_factory):
    """Makes a tiny checkpoint of a kind, once; of several modalities with all of them."""
    root = tmp_path_factory.mktemp("models")
    library = libraries["transformers"]

    def folder(kind: str) -> Path:
        found = root / kind
        if not found.exists():
            common = {} if "text_config" in KINDS[kind] else SMALL
            config = library.AutoConfig.for_model(kind, **{**common, **KINDS[kind]})
            whole = {"qwen3_5": "Qwen3_5ForConditionalGeneration"}.get(kind)
            made = (
                getattr(library, whole)(config) if whole else library.AutoModelForCausalLM.from_config(config)
            )
            made.save_pretrained(found)
        return found

    return folder


def load(libraries, folder: Path, **options):
    dtype = libraries["torch"].float32
    return libraries["transformers"].AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_their_names_are_the_models(libraries, folder, kind):
    shape = read_shape(folder(kind))
    assert shape.modules is not None
    model = load(libraries, folder(kind))
    theirs = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert {name: tensor.shape for name, tensor in shape.tensors.items()} == theirs
    assert shape.model_type == model.config.model_type


@pytest.mark.parametrize("kind", KINDS)
def test_modules_are_of_the_kind_that_the_model_has(libraries, folder, kind):
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    modules = read_shape(folder(kind)).modules
    derived = {nn.Linear: Kind.LINEAR_LIKE, Conv1D: Kind.CONV1D, nn.Embedding: Kind.EMBEDDING}
    for name, module in load(libraries, folder(kind)).named_modules():
        if name and any(True for _ in module.parameters(recurse=False)):
            kinds = (kind for layer, kind in derived.items() if isinstance(module, layer))
            expected = Kind.LINEAR if type(module) is nn.Linear else next(kinds, Kind.OTHER)
            assert modules.kind(name) is expected, name


@pytest.mark.parametrize("lora", SETTINGS, ids=json.dumps)
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_trains_what_peft_trains_or_both_refuse(libraries, folder, tmp_path, kind, lora):
    lora = {"r": 4, **lora}
    peft, shape = libraries["peft"], read_shape(folder(kind))
    try:
        model = peft.get_peft_model(
            load(libraries, folder(kind)), peft.LoraConfig(task_type="CAUSAL_LM", **lora)
        )
    except ValueError:
        assert refuses(lora, shape)
        return
    assert not refuses(lora, shape)
    ours = new_adapter(AdapterSpec(True, lora=lora), shape)
    assert ours.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.save_pretrained(tmp_path)
    size = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert safetensors_bytes(ours.tensors("F32")) == pytest.approx(size, abs=8)


def refuses(lora: dict, shape: ModelShape) -> bool:
    """Whether one of the checks of `ptspec.checks.adapter` that go by PEFT finds fault."""
    check = ("peft", "tuners/tuners_utils.py", "_check_lora_target_modules_mamba")
    try:
        found = targets.resolve(lora, shape)
    except targets.UnknownTargets:
        return True
    last = {name.rpartition(".")[2] for name in targets.meant(lora, shape)}
    is_mamba = shape.model_type in local_constant(*check, "mamba_model_types")
    in_kernel = is_mamba and last & local_constant(*check, "incompatible_modules")
    return bool(in_kernel or targets.not_adaptable(lora, shape) or not (found.modules or found.parameters))


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "llama"])
def test_an_adapter_that_peft_saved_is_the_setup_that_made_it(libraries, folder, tmp_path, kind):
    lora = {"r": 4, "target_modules": "all-linear"}
    config = libraries["peft"].LoraConfig(task_type="CAUSAL_LM", **lora)
    libraries["peft"].get_peft_model(load(libraries, folder(kind)), config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert unlike_saved(saved, lora, lambda: read_shape(folder(kind))) == []
    assert unlike_saved(saved, lora, lambda: None) == []
    attention = {"r": 4, "target_modules": SEVEN[:4]}
    assert unlike_saved(saved, attention, lambda: read_shape(folder(kind))) != []


SKIPPED = [None, ["lm_head", "q_proj"], ["lm_head", "model.layers.1", "up.*"], ["embed_tokens"]]


@pytest.mark.parametrize(
    ("kind", "skip"), [*((kind, None) for kind in KINDS), *(("llama", s) for s in SKIPPED[1:])]
)
def test_weights_in_4_bits_take_the_bytes_that_are_counted(libraries, folder, kind, skip):
    fields = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    four_bits = libraries["transformers"].BitsAndBytesConfig(**fields, llm_int8_skip_modules=skip)
    model = load(libraries, folder(kind), quantization_config=four_bits)
    adapter = AdapterSpec(True, use_qlora=True, quantization={"llm_int8_skip_modules": skip})
    stage = Stage("s", methods.get("sft"), "base", None, "train", adapter)
    settings = EffectiveConfig(stage, ComputeSpec(), gpu=False)
    ours = weight_bytes(settings, ModelSpec(str(folder(kind)), True), read_shape(folder(kind)))
    assert ours == pytest.approx(sum(map(stored, model.parameters())), rel=0.02)


def stored(parameter) -> int:
    """Bytes of a parameter with the scales of its blocks."""
    state = getattr(parameter, "quant_state", None)
    scales = [] if state is None else [state.absmax, *([state.state2.absmax] if state.nested else [])]
    return sum(tensor.numel() * tensor.element_size() for tensor in (parameter, *scales))


def test_what_the_auto_classes_open_is_what_their_mappings_say():
    from transformers.models.auto import modeling_auto

    for kind, name in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        assert auto.causal_lm(kind) == (name[0] if isinstance(name, tuple) else name)
    for kind, name in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.items():
        assert auto.sequence_classifier(kind) == (name[0] if isinstance(name, tuple) else name)
    for kind in ("mistral3", "qwen2_5_vl", "llava", "clip"):
        assert auto.is_known(kind)
        assert auto.causal_lm(kind) is None


@pytest.mark.parametrize(
    "kind", ["llama", "mixtral", "granitemoe", "deepseek_v3", "gemma3_text", "qwen3_5_text"]
)
def test_fields_and_defaults_of_a_config_are_its_classs(libraries, kind):
    config = libraries["transformers"].AutoConfig.for_model(kind)
    for field in (
        "output_router_logits",
        "num_experts",
        "num_experts_per_tok",
        "router_aux_loss_coef",
        "vocab_size",
    ):
        assert (field in auto.config_fields(kind)) == hasattr(config, field)
    assert auto.config_default(kind, "tie_word_embeddings") == config.tie_word_embeddings
    assert auto.config_class(kind) == type(config).__name__


def test_whether_weights_of_a_quantisation_method_can_be_trained():
    assert quantizers.is_trainable("mxfp4") is False
    assert quantizers.is_trainable("higgs") is False
    assert quantizers.is_trainable("gptq") is True
    assert quantizers.is_trainable("no-such-method") is None


def test_the_part_that_trl_takes_hidden_states_of_is_missing_where_reported(libraries):
    """TRL's fused head asks `base_model_prefix` for them; Llama 4's names a part of another class."""
    library = libraries["transformers"]
    for kind in ("llama4_text", "llama"):
        modules = Modules(library.AutoConfig.for_model(kind).to_dict())
        with libraries["torch"].device("meta"):
            config = library.AutoConfig.for_model(kind, num_hidden_layers=1)
            model = library.AutoModelForCausalLM.from_config(config)
        assert modules.prefix == model.base_model_prefix
        assert modules.exists(modules.prefix) == hasattr(model, model.base_model_prefix)


def test_trl_reads_of_a_router_what_is_checked():
    import inspect

    from trl.trainer.utils import add_fused_lm_head

    source = inspect.getsource(add_fused_lm_head)
    for name in ("text_config.num_experts", "num_experts_per_tok", "output_router_logits"):
        assert name in source
    assert "getattr(self, backbone_attr)" in source
