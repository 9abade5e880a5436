"""A byte-level tokenizer with a chat template, and models and rows for it."""

import pytest
from tiny_llama import CHAT, ROWS, random_llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ptspec.data.formats import evaluation_row
from ptspec.recipe.plan import EvaluationSpec


@pytest.fixture(scope="session")
def tokenizer():
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


@pytest.fixture
def model(tokenizer):
    return random_llama(tokenizer, 0)


@pytest.fixture
def other_model(tokenizer):
    return random_llama(tokenizer, 1)


@pytest.fixture
def rows():
    return [evaluation_row(row) for row in ROWS]


@pytest.fixture
def spec():
    return EvaluationSpec(data="heldout", max_new_tokens=12, samples=3)
