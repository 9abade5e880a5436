"""Make the shipped base model: train its tokenizer, pre-train it, save it.

A Llama of about one million parameters reads the corpus of make_corpus.py. It learns the facts
of the invented world and to answer in running text, and never sees the chat format: the role
tokens are in its vocabulary, but in no document.

    python data/make_base_model.py                              # data/base_model, about 10 minutes
    python data/make_base_model.py --output /tmp/m --steps 20   # a quick look

One thread, deterministic kernels: the same machine and versions give the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from make_corpus import documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
PAD, BOS, END = "<|pad|>", "<|bos|>", "<|end|>"
ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]

SEED = 20
VOCABULARY = 1304
TOKENIZER_DOCUMENTS = 20_000
GRADUAL_DOCUMENTS = 40_000
CONTEXT = 512
STEPS, BATCH, LENGTH = 2400, 12, 128
PEAK_RATE, WARMUP, WEIGHT_DECAY = 4e-3, 100, 0.05


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, digits one by one. `<|end|>` closes documents and chat turns alike."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, END, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(itertools.islice(documents(SEED), TOKENIZER_DOCUMENTS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        additional_special_tokens=ROLES,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=(HERE / "chat_template.jinja").read_text(encoding="utf-8"),
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model


def token_stream(tokenizer: PreTrainedTokenizerFast) -> Iterator[int]:
    """The documents one after the other, each between `<|bos|>` and `<|end|>`."""
    stream = documents(SEED + 1, GRADUAL_DOCUMENTS)
    while True:
        for ids in tokenizer(list(itertools.islice(stream, 1000)))["input_ids"]:
            yield tokenizer.bos_token_id
            yield from ids
            yield tokenizer.eos_token_id


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def pretrain(model: LlamaForCausalLM, tokens: Iterator[int], steps: int) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    model.train()
    for step in range(steps):
        batch = torch.tensor(list(itertools.islice(tokens, BATCH * LENGTH))).view(BATCH, LENGTH)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the shipped base model.")
    parser.add_argument("--output", type=Path, default=HERE / "base_model")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"default {STEPS}")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer()
    model = new_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {model.num_parameters():,} parameters", flush=True)
    pretrain(model, token_stream(tokenizer), options.steps)
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)


if __name__ == "__main__":
    main()
