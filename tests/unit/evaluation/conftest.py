"""Models, a tokenizer and rows to measure."""

import pytest
from support.tiny_llama import ROWS, byte_tokenizer, random_llama

from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.recipe.plan import EvaluationSpec


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


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
