"""A byte-level tokenizer for each of TRL's chat templates, with the special tokens of its family, in a folder
with a random Llama of some thousand parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ptspec.data.tokens.look import marks_in
from ptspec.recipe.chat_templates import named_template

DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", ())
ENDS: dict[str, tuple[str | None, str, tuple[str, ...]]] = {
    "cohere2": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", ()),
    "deepseek_r1_distill": DEEPSEEK,
    "deepseekv3": DEEPSEEK,
    "gemma": ("<bos>", "<eos>", ("<end_of_turn>",)),
    "gemma3": ("<bos>", "<eos>", ("<end_of_turn>",)),
    "glm4moe": (None, "<|endoftext|>", ("<|user|>", "<|observation|>")),
    "gptoss": ("<|startoftext|>", "<|return|>", ("<|call|>",)),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", ()),
    "llama3_1": ("<|begin_of_text|>", "<|eot_id|>", ()),
    "phi3": ("<s>", "<|endoftext|>", ("<|end|>",)),
    "qwen2_5": (None, "<|im_end|>", ()),
    "qwen3": (None, "<|im_end|>", ()),
    "qwen3_5_think": (None, "<|im_end|>", ()),
    "nemotron_3_nano": ("<s>", "<|im_end|>", ()),
}
"""Template: BOS, EOS, and what else the released generation config stops at."""


def tokenizer_for(template: str, bos: str | None, eos: str, more: tuple[str, ...] = ()) -> Any:
    """A tokenizer of bytes, and of what `template` (its text) marks turns with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = [token for token in (bos, eos, *more, "<|pad|>") if token]
    bpe.add_special_tokens(list(dict.fromkeys([*special, *marks_in(template)])))
    named = {"bos_token": bos, "eos_token": eos, "pad_token": "<|pad|>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, chat_template=template, **{k: v for k, v in named.items() if v}
    )


def model_for(tokenizer: Any, folder: Path, ends: tuple[str, ...] = ()) -> Path:
    """`folder`, with the tokenizer and a random model whose generation config stops at EOS and at `ends`."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), **size, **ids, max_position_embeddings=4096)
    )
    if ends:
        model.generation_config.eos_token_id = [
            tokenizer.eos_token_id,
            *map(tokenizer.convert_tokens_to_ids, ends),
        ]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def family(name: str, folder: Path) -> Path:
    """A model with TRL's template `name` and its family's tokens."""
    text = named_template(name)
    assert text is not None
    bos, eos, ends = ENDS[name]
    return model_for(tokenizer_for(text, bos, eos, ends), folder, ends)
