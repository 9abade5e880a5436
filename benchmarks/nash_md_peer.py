"""One sampling by the GeometricMixtureWrapper of TRL 1.13.0, in its environment; prints processor seconds.

Its KV cache is off: on, both models would append to one cache, and the tokens would not be the mixture's.
Its reference is a second model: with a PeftModel its reference would have the adapter in it.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from trl.experimental.nash_md.nash_md_trainer import GeometricMixtureWrapper

PAD, END, WORDS, LENGTH = 0, 1, 2048, 24


def llama(hidden: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=WORDS,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def main() -> None:
    hidden, rows, new = map(int, sys.argv[1:4])
    torch.set_num_threads(1)
    config = GenerationConfig(
        max_new_tokens=new,
        do_sample=True,
        top_k=0,
        pad_token_id=PAD,
        eos_token_id=None,
        use_cache=False,
    )
    mixture = GeometricMixtureWrapper(llama(hidden, 0), llama(hidden, 1), config, 0.125, torch.device("cpu"))
    ids = torch.randint(2, WORDS, (rows, LENGTH))

    def sample(config: GenerationConfig) -> None:
        tokens = mixture.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
        assert tokens.shape[1] == LENGTH + config.max_new_tokens

    warm = GenerationConfig(**{**config.to_dict(), "max_new_tokens": 4})
    sample(warm)
    begun = time.process_time()
    sample(config)
    print(json.dumps(time.process_time() - begun))


if __name__ == "__main__":
    main()
