"""All that is asked of a prompt from one reading of it: the same figures, from fewer tokens."""

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tiny_llama import ROWS, gemma, mamba, random_llama
from transformers import GPT2Config, GPT2LMHeadModel

from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.evaluation import computed, merged_adapter
from ptspec.evaluation.answers import numbers_to_draw_with
from ptspec.evaluation.computed import Request, compute
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.merged_adapter import adapter_merged
from ptspec.evaluation.prefixes import Prefixes, can_be_shared
from ptspec.evaluation.progress import discard_progress
from ptspec.evaluation.work import Work, prepare

NEW = 12
EVERYTHING = frozenset({"loss", "preference_accuracy", "accuracy", "kl"})


def gpt2(tokenizer):
    torch.manual_seed(0)
    sizes = {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 256,
        "bos_token_id": None,
        "eos_token_id": 2,
    }
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), initializer_range=0.4, **sizes))


def adapted(tokenizer):
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(random_llama(tokenizer, 0), config)


MODELS = {"llama": lambda tokenizer: random_llama(tokenizer, 0), "gpt2": gpt2, "adapter": adapted}


@pytest.fixture
def counted():
    """The tokens that a model reads, by `counted(model)`."""
    hooks = []

    def count(model):
        read = []
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        hook = inner.register_forward_pre_hook(
            lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
        )
        hooks.append(hook)
        return read

    yield count
    for hook in hooks:
        hook.remove()


def request_of(tokenizer, tokens=None):
    rows = [evaluation_row(row) for row in (*ROWS, *ROWS[:2])]
    work = prepare(tokenizer, rows, EVERYTHING, 256, NEW)
    numbers = numbers_to_draw_with([str(n) for n in range(len(rows))], work.prompts, 7, NEW, seed=3)
    return Request(work, numbers, NEW, tokens)


def both(model, base, tokenizer, request, counted):
    """Figures from one reading of each prompt, and from a reading each; and how many tokens were read."""
    model.eval()
    base.eval()
    read = counted(model)
    with torch.no_grad():
        together = compute(model, base, tokenizer, request, progress=discard_progress, warn=pytest.fail)
        count = sum(read)
        read.clear()
        apart = computed._apart(model, base, tokenizer, request, discard_progress, pytest.fail, None)
    return together, apart, count, sum(read)


@pytest.mark.parametrize("tokens", [None, 150])
@pytest.mark.parametrize("name", MODELS)
def test_the_figures_are_those_of_a_reading_each_from_fewer_tokens(name, tokens, tokenizer, counted):
    model, base = MODELS[name](tokenizer), random_llama(tokenizer, 5)
    request = request_of(tokenizer, tokens)
    (logps, said), (wanted, expected), few, many = both(model, base, tokenizer, request, counted)
    assert logps == pytest.approx(wanted, rel=1e-5)
    assert dict(said.greedy) == dict(expected.greedy)
    assert dict(said.drawn) == dict(expected.drawn) and len(said.drawn) == 7
    assert said.kl == pytest.approx(expected.kl, rel=1e-3, abs=1e-4)
    assert list(said.drawn) == list(request.numbers)
    assert few < (0.7 if tokens is None else 0.85) * many


def test_sliding_windows_and_states_are_read_by_themselves(tokenizer, counted):
    assert can_be_shared(random_llama(tokenizer, 0)) and can_be_shared(adapted(tokenizer))
    for make in (gemma, mamba):
        model = make(tokenizer)
        assert not can_be_shared(model)
        (logps, said), (wanted, expected), count, same = both(
            model, random_llama(tokenizer, 5), tokenizer, request_of(tokenizer), counted
        )
        assert (logps, said) == (wanted, expected) and count == same


def test_progress_is_counted_to_the_end(tokenizer):
    heard = {}
    model = random_llama(tokenizer, 0).eval()
    request = request_of(tokenizer)
    compute(
        model,
        model,
        tokenizer,
        request,
        progress=lambda what, done, total: heard.update({what: (done, total)}),
        warn=pytest.fail,
    )
    answers = len(request.work.prompts) + 7
    assert heard == {
        "likelihoods": (len(request.work.texts),) * 2,
        "answers": (answers, answers),
        "KL to the base": (7, 7),
    }


def test_prompts_of_one_token_and_texts_without_a_prompt(tokenizer, counted):
    model = random_llama(tokenizer, 0)
    one = {0: (7,), 1: (7, 8, 9)}
    texts = (Encoded((3, 4, 5), 1), Encoded((7, 8, 9, 10), 3), Encoded((7, 8, 9, 11, 12), 3))
    for prompts in (one, {1: one[1]}):
        request = Request(Work({}, {}, prompts, texts, 0), {1: [0.5] * NEW}, NEW)
        (logps, said), (wanted, expected), _, _ = both(
            model, random_llama(tokenizer, 5), tokenizer, request, counted
        )
        assert logps == pytest.approx(wanted, rel=1e-5)
        assert (said.greedy, said.drawn) == (expected.greedy, expected.drawn)


def test_prefixes_of_any_lengths_are_as_if_alone(tokenizer):
    """Each is read without padding to the longest, and padded afterwards."""
    model = random_llama(tokenizer, 0).eval()
    numbers = random.Random(0)
    prefixes = [tuple(numbers.randrange(5, 250) for _ in range(length)) for length in (9, 2, 30, 17)]
    continuations = [tuple(numbers.randrange(5, 250) for _ in range(length)) for length in (4, 1, 6, 3)]
    read = Prefixes(model, prefixes, 40)
    logits = read.logits([2, 0, 1, 3, 2], [continuations[0], *continuations])
    for row, (place, continuation) in enumerate(
        zip([2, 0, 1, 3, 2], [continuations[0], *continuations], strict=True)
    ):
        ids = torch.tensor([[*prefixes[place], *continuation[:-1]]])
        with torch.no_grad():
            alone = model(ids).logits[0, len(prefixes[place]) - 1 :]
        assert torch.allclose(logits[row, : len(continuation)], alone, atol=1e-4)


def test_a_prompt_near_the_end_of_the_context_beside_a_long_answer_to_a_short_one(tokenizer):
    """Positions of padding must not go beyond those that a model has."""
    model = gpt2(tokenizer).eval()
    long, short = tuple(range(5, 255)), (7, 8, 9)
    read = Prefixes(model, [long, short], 1000)
    assert read.logits([0, 1], [(4, 5), tuple(range(5, 100))]).isfinite().all()


def test_a_merged_adapter_computes_the_same_and_leaves_the_model_as_it_was(tokenizer):
    model = adapted(tokenizer).eval()
    request = request_of(tokenizer)
    ids = torch.randint(5, 250, (2, 9))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(ids).logits
        wanted, expected = compute(
            model, None, tokenizer, request, progress=discard_progress, warn=pytest.fail
        )
        with adapter_merged(model):
            linear = model.base_model.model.model.layers[0].mlp.up_proj
            assert "forward" in vars(linear)
            found, said = compute(
                model, None, tokenizer, request, progress=discard_progress, warn=pytest.fail
            )
            assert torch.allclose(model(ids).logits, before, atol=1e-4)
        assert torch.equal(model(ids).logits, before)
    assert found == pytest.approx(wanted, rel=1e-5) and said.greedy == expected.greedy
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert "forward" not in vars(linear)


def test_what_is_not_merged(tokenizer, monkeypatch):
    """Lower precision, more memory than is free, an adapter that is off, DoRA, a base that has the layers."""
    model = adapted(tokenizer).eval()
    layer = model.base_model.model.model.layers[0].mlp.up_proj

    def is_merged(one, base=None, of=layer):
        with adapter_merged(one, base):
            return "forward" in vars(of)

    assert is_merged(model) and not is_merged(model, base=model)
    with model.disable_adapter():
        assert not is_merged(model)
    monkeypatch.setattr(merged_adapter, "free_bytes", lambda device: 1000)
    assert not is_merged(model)
    monkeypatch.undo()
    config = LoraConfig(r=4, use_dora=True, target_modules="all-linear")
    dora = get_peft_model(random_llama(tokenizer, 0), config)
    assert not is_merged(dora.eval(), of=dora.base_model.model.model.layers[0].mlp.up_proj)
    assert not is_merged(model.to(torch.bfloat16))
