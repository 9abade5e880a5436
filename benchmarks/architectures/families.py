"""The kinds of model of the matrix: architectures × tokenizers × templates as they are released together."""

from __future__ import annotations

from typing import Any

from models import SIZES, Family, Tokens

Fields = dict[str, Any]

HEAD: Fields = {"head_dim": 16}
WINDOW: Fields = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
NO_WINDOW: Fields = {"sliding_window": None}
EXPERTS: Fields = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS: Fields = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED_EXPERTS: Fields = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GROUPS: Fields = {"topk_group": 1, "first_k_dense_replace": 1}
LATENT: Fields = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip
LINEAR: Fields = {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
}  # fmt: skip
MAMBA: Fields = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
GEMMA: Fields = {**HEAD, "query_pre_attn_scalar": 16}
VISION: Fields = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
TOWER: Fields = {**VISION, "image_size": 28, "patch_size": 14}
QWEN_TOWER: Fields = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
    "patch_size": 14,
}  # fmt: skip
NO_GROUPED_HEADS: Fields = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
OLD: Fields = {name: size for name, size in NO_GROUPED_HEADS.items() if name != "intermediate_size"}

TEXT_END = "<|endoftext|>"
SENTENCE: Fields = {"bos": "<s>", "eos": "</s>"}


def qwen(template: str, eos: str = "<|im_end|>", *more: str) -> Tokens:
    marks = ("<|im_start|>", "<|im_end|>", TEXT_END, *more)
    return Tokens(template, eos=eos, pad=TEXT_END, more=marks)


def gemma(template: str, *more: str) -> Tokens:
    marks = more or (
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_of_image>",
        "<image_soft_token>",
        "<end_of_image>",
    )
    return Tokens(template, "pieces", bos="<bos>", eos="<eos>", pad="<pad>", unk="<unk>", more=marks)


def deepseek(template: str, pad: str) -> Tokens:
    begin, end = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    return Tokens(template, bos=begin, eos=end, pad=pad, more=("<｜User｜>", "<｜Assistant｜>"))


INST = Tokens("inst", "pieces", **SENTENCE, unk="<unk>")
BASE = Tokens(bos=TEXT_END, eos=TEXT_END, adds_bos=False)
"""Of a base model: no chat template, one token for BOS and EOS, no padding."""
GRANITE = Tokens(
    "granite", bos="<|end_of_text|>", eos="<|end_of_text|>", pad="<|end_of_text|>", adds_bos=False
)
GLM = Tokens(
    "glm4moe", eos=TEXT_END, pad=TEXT_END,
    more=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>"),
)  # fmt: skip
VISION_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
GEMMA_TURN = ("<end_of_turn>",)
GLM_TURN = ("<|user|>", "<|observation|>")

FAMILIES: dict[str, Family] = {
    # Dense decoders.
    "llama3": Family(
        "llama",
        Tokens("llama3_1", bos="<|begin_of_text|>", eos="<|eot_id|>", more=("<|finetune_right_pad_id|>",)),
        {"tie_word_embeddings": False},
    ),
    "llama2": Family("llama", INST),
    "llama_unigram": Family("llama", Tokens("inst", "unigram", **SENTENCE, unk="<unk>")),
    "llama_no_bos_no_pad": Family("llama", Tokens("chatml", eos="<|im_end|>")),
    "mistral": Family("mistral", INST, NO_WINDOW),
    "qwen2_5": Family("qwen2", qwen("qwen2_5"), {"tie_word_embeddings": True}),
    # A base model: its EOS is not what the template ends a turn with.
    "qwen2_5_base": Family("qwen2", qwen("qwen2_5", TEXT_END)),
    "r1_distill": Family("qwen2", deepseek("deepseek_r1_distill", TEXT_END)),
    "qwen3": Family("qwen3", qwen("qwen3"), HEAD),
    "smollm3": Family("smollm3", qwen("qwen3")),
    "stablelm": Family("stablelm", qwen("chatml")),
    "olmo2": Family("olmo2", GRANITE),
    "olmo3": Family("olmo3", GRANITE, WINDOW),
    "granite": Family("granite", GRANITE),
    "glm4": Family("glm4", GLM, HEAD, ends=GLM_TURN),
    "cohere2": Family(
        "cohere2", Tokens("cohere2", bos="<BOS_TOKEN>", eos="<|END_OF_TURN_TOKEN|>", pad="<PAD>"),
        {"sliding_window": 64, "max_position_embeddings": 2048},  # the template alone is 600 tokens
    ),
    "gemma2": Family("gemma2", gemma("gemma"), {**GEMMA, "sliding_window": 64}, ends=GEMMA_TURN),
    "gemma3_text": Family("gemma3_text", gemma("gemma3"), {**GEMMA, **WINDOW}, ends=GEMMA_TURN),
    "phi3": Family(
        "phi3",
        Tokens("phi3", "pieces", bos="<s>", eos=TEXT_END, pad=TEXT_END, unk="<unk>", more=("<|end|>",)),
        NO_WINDOW, ends=("<|end|>", "<|assistant|>"),
    ),
    "phi4": Family("phi3", Tokens("chatml", bos=TEXT_END, eos="<|im_end|>", pad="<|dummy_85|>"), NO_WINDOW),
    # Of before Llama: base models.
    "gpt2": Family("gpt2", BASE, sizes=OLD),
    "gpt_neox": Family("gpt_neox", BASE, sizes=NO_GROUPED_HEADS),
    "bloom": Family("bloom", Tokens(**SENTENCE, pad="<pad>", adds_bos=False), sizes=OLD),
    "falcon": Family(
        "falcon", BASE, {"new_decoder_architecture": False, "multi_query": True, "alibi": False}, sizes=OLD
    ),
    "opt": Family(
        "opt", Tokens(bos="</s>", eos="</s>", pad="<pad>"), {"ffn_dim": 128, "word_embed_proj_dim": 64},
        sizes=OLD,
    ),
    # Mixtures of experts.
    "mixtral": Family("mixtral", INST, {**LOCAL_EXPERTS, **NO_WINDOW}),
    "qwen3_moe": Family("qwen3_moe", qwen("qwen3_instruct_2507"), {**HEAD, **EXPERTS}),
    "deepseek_v3": Family(
        "deepseek_v3", deepseek("deepseekv3", "<｜▁pad▁｜>"),
        {**ROUTED_EXPERTS, **GROUPS, **LATENT, "n_group": 2},
    ),
    "glm4_moe": Family(
        "glm4_moe", GLM, {**HEAD, **ROUTED_EXPERTS, **GROUPS, "n_group": 1}, ends=GLM_TURN
    ),
    "gpt_oss": Family(
        "gpt_oss",
        Tokens(
            "gptoss", bos="<|startoftext|>", eos="<|return|>", pad=TEXT_END, adds_bos=False,
            more=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>"),
        ),
        {**HEAD, **LOCAL_EXPERTS, "sliding_window": 64}, ends=("<|call|>",),
    ),
    "llama4_text": Family(
        "llama4_text", Tokens("chatml", bos="<|begin_of_text|>", eos="<|im_end|>", pad="<|pad|>"),
        {
            **HEAD, "intermediate_size_mlp": 128, "num_local_experts": 2, "moe_layers": [1],
            "attention_chunk_size": 64,
        },
    ),
    # Linear attention, convolutions, state spaces, and hybrids of them.
    "qwen3_next": Family(
        "qwen3_next", qwen("qwen3_instruct_2507"),
        {**HEAD, **EXPERTS, **LINEAR, "shared_expert_intermediate_size": 32},
    ),
    "qwen3_5_text": Family("qwen3_5_text", qwen("qwen3_5_nothink"), {**HEAD, **LINEAR}),
    "lfm2": Family(
        "lfm2", Tokens("lfm2", bos="<|startoftext|>", eos="<|im_end|>", pad="<|pad|>"),
        {"layer_types": ["conv", "full_attention"]},
    ),
    "mamba2": Family(
        "mamba2", BASE, {"num_heads": 4, "head_dim": 32, "state_size": 16, "n_groups": 1, "chunk_size": 16},
        sizes={"hidden_size": 64, "num_hidden_layers": 2},
    ),
    "falcon_h1": Family(
        "falcon_h1", BASE, {**MAMBA, "mamba_d_ssm": 64, "mamba_d_head": 8, "mamba_chunk_size": 16}
    ),
    "granite_moe_hybrid": Family(
        "granitemoehybrid", GRANITE,
        {**LOCAL_EXPERTS, **MAMBA, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 32},
    ),
    "nemotron_h": Family(
        "nemotron_h",
        Tokens("nemotron_3_super", bos="<s>", eos="<|im_end|>", pad="<unk>", more=("<|im_start|>",)),
        {
            **HEAD, **ROUTED_EXPERTS, "layers_block_type": ["mamba", "attention", "moe"],
            "mamba_num_heads": 4, "mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 1, "chunk_size": 16,
            "moe_shared_expert_intermediate_size": 32,
        },
        sizes={name: size for name, size in SIZES.items() if name != "num_hidden_layers"},
    ),
    # Several modalities, trained on text.
    "gemma3": Family(
        "gemma3", gemma("gemma3"), {**GEMMA, **WINDOW}, ends=GEMMA_TURN, vision=TOWER,
        whole={
            "mm_tokens_per_image": 1, "image_token_index": "<image_soft_token>",
            "boi_token_index": "<start_of_image>", "eoi_token_index": "<end_of_image>",
        },
    ),
    "gemma4": Family(
        "gemma4",
        gemma("gemma4_v5", "<|turn>", "<turn|>", "<|image|>", "<|audio|>", "<|video|>", "<|think|>"),
        {
            **HEAD, **WINDOW, "global_head_dim": 16, "vocab_size_per_layer_input": 1100,
            "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0,
        },
        ends=("<turn|>",), vision={**VISION, "num_key_value_heads": 2, "head_dim": 16},
        whole={"audio_config": None, "image_token_id": "<|image|>"},
    ),
    "qwen3_5": Family(
        "qwen3_5", qwen("qwen3_5_think", "<|im_end|>", *VISION_MARKS), {**HEAD, **LINEAR}, vision=QWEN_TOWER,
        whole={"image_token_id": "<|image_pad|>"},
    ),
    "mistral3": Family(
        "mistral3", INST, {"model_type": "mistral", **HEAD},
        vision={"model_type": "pixtral", **TOWER, "head_dim": 16}, whole={"image_token_index": 5},
    ),
    "qwen2_5_vl": Family(
        "qwen2_5_vl", qwen("qwen2_5", "<|im_end|>", *VISION_MARKS),
        {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}, vision=QWEN_TOWER,
    ),
}  # fmt: skip
