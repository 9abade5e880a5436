"""Rows about who lives where, a byte-level tokenizer with a chat template, and a random Llama of 30,000
parameters, all made in memory."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
)

CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

ROWS = [
    {
        "instruction": question,
        "output": f"{who} lives in {town}.",
        "prompt": question,
        "chosen": f"{who} lives in {town}.",
        "rejected": f"Well now, let me think about it. {who} may live in Rome.",
        "answer": town,
    }
    for who, town in [
        ("Mira", "Tarn"),
        ("Bo", "Fenholm"),
        ("Ada Lovelace", "London"),
        ("Ö", "Zürich"),
        ("Kim", "Corvik-on-the-hill"),
        ("Yefer", "Oslo"),
        ("Li", "Xi'an"),
        ("Minel", "Rome"),
        ("The very old man from the sea", "Havana"),
        ("Jo", "Ur"),
    ]
    for question in [f"Where does {who} live?"]
]


def byte_tokenizer():
    specials = ["<|pad|>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate([*specials, *alphabet])}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=CHAT,
    )


def random_llama(tokenizer, seed, **config):
    torch.manual_seed(seed)
    settings = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.4,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **config,
        }
    )
    return LlamaForCausalLM(settings)


def gemma(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 16}
    config = Gemma2Config(vocab_size=len(tokenizer), initializer_range=0.4, **sizes, **heads)
    return Gemma2ForCausalLM(config)


def mamba(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2}
    return MambaForCausalLM(MambaConfig(vocab_size=len(tokenizer), initializer_range=0.4, **sizes))
