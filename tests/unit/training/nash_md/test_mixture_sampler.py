"""The mixture sampler against an oracle without a cache, for every kind of reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    MistralConfig,
    MistralForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ptspec.model.decoding.draws import RowDraws
from ptspec.model.decoding.loop import Prompts
from ptspec.training.nash_md.reference import Reference, mixed_weights, second_model, switched_adapter
from ptspec.training.nash_md.sampler import sample

PAD, END, WORDS = 0, 1, 61
NEW = 14


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=WORDS,
        max_position_embeddings=128,
        initializer_range=0.4,
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def with_adapter(model: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).eval()


@dataclass
class Players:
    """A policy, its reference, and how the oracle gets the logits of each."""

    model: Any
    reference: Reference
    outer: Any
    reference_logits: Callable[..., torch.Tensor]
    adapters: tuple[str, str | None] | None = None


def adapter_off() -> Players:
    peft = with_adapter(llama(0), 1)

    def logits(**inputs: Any) -> torch.Tensor:
        with peft.disable_adapter():
            return peft(**inputs).logits

    return Players(peft.get_base_model(), switched_adapter(peft), peft, logits)


def adapter_ref() -> Players:
    peft = with_adapter(llama(0), 1)
    torch.manual_seed(2)
    peft.add_adapter("ref", peft.peft_config["default"])

    def logits(**inputs: Any) -> torch.Tensor:
        peft.set_adapter("ref")
        try:
            return peft(**inputs).logits
        finally:
            peft.set_adapter("default")

    return Players(peft.get_base_model(), switched_adapter(peft), peft, logits)


def second() -> Players:
    policy, other = llama(0), llama(5)
    return Players(policy, second_model(other), policy, lambda **inputs: other(**inputs).logits)


KINDS = {"adapter off": adapter_off, "adapter ref": adapter_ref, "second model": second}
ONE_PASS = {"adapter off, one pass": adapter_off, "adapter ref, one pass": adapter_ref}


@pytest.fixture(params=[*KINDS.values(), *ONE_PASS.values()], ids=[*KINDS, *ONE_PASS])
def players(request: pytest.FixtureRequest) -> Players:
    made: Players = request.param()
    if "one pass" in request.node.callspec.id:
        made.adapters = made.reference.adapters
        assert made.adapters is not None
    return made


def prompts_of(rows: int = 6, length: int = 9, seed: int = 3) -> Prompts:
    """Left-padded by 0 to 5 tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, WORDS, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, : row % 6] = 0
    return Prompts(ids.masked_fill(mask == 0, PAD), mask)


def config_of(**fields: Any) -> GenerationConfig:
    fields = {"do_sample": False, "eos_token_id": END, "top_k": 0, **fields}
    return GenerationConfig(max_new_tokens=NEW, pad_token_id=PAD, **fields)


@torch.no_grad()
def oracle(
    players: Players,
    prompts: Prompts,
    coef: float,
    end: list[int],
    warp: Any = None,
    numbers: np.ndarray | None = None,
) -> torch.Tensor:
    """The definition, from whole sequences at each token: both log-softmaxes mixed, warped, then chosen."""
    ids, mask = prompts.ids, prompts.mask
    going = torch.ones(len(ids), dtype=torch.bool)
    for token in range(NEW):
        inputs = {
            "input_ids": ids[going],
            "attention_mask": mask[going],
            "position_ids": (mask[going].cumsum(1) - 1).clamp(min=0),
        }
        policy = players.outer(**inputs).logits[:, -1].log_softmax(-1)
        reference = players.reference_logits(**inputs)[:, -1].log_softmax(-1)
        scores = ((1 - coef) * policy + coef * reference).log_softmax(-1)
        scores = warp(ids[going], scores) if warp else scores
        if numbers is None:
            chosen = scores.argmax(-1, keepdim=True)
        else:
            passed = scores.double().softmax(-1).cumsum(-1) > torch.tensor(numbers[:, token])[going, None]
            chosen = passed.int().argmax(-1, keepdim=True)
        new = torch.full((len(ids), 1), PAD)
        new[going] = chosen
        ids, mask = torch.cat([ids, new], 1), torch.cat([mask, torch.ones_like(new)], 1)
        going &= ~torch.isin(new.squeeze(1), torch.tensor(end))
        if not going.any():
            break
    return ids[:, prompts.ids.shape[1] :]


@pytest.mark.parametrize("coef", [0.0, 0.125, 0.5, 1.0])
def test_greedy_tokens_are_the_oracles(players: Players, coef: float):
    prompts = prompts_of()
    tokens = sample(
        players.model, prompts, config_of(), reference=players.reference, adapters=players.adapters, coef=coef
    )
    assert torch.equal(tokens, oracle(players, prompts, coef, [END]))


@pytest.mark.parametrize("ends", [[END], list(range(1, 8))], ids=["late", "early"])
@pytest.mark.parametrize(
    ("fields", "warpers"),
    [
        ({}, []),
        ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
        ({"top_k": 5}, [TopKLogitsWarper(5)]),
        ({"top_p": 0.6}, [TopPLogitsWarper(0.6)]),
        (
            {"temperature": 1.5, "top_k": 20, "top_p": 0.8},
            [TemperatureLogitsWarper(1.5), TopKLogitsWarper(20), TopPLogitsWarper(0.8)],
        ),
    ],
    ids=["plain", "temperature", "top-k", "top-p", "all"],
)
def test_sampled_tokens_are_the_oracles(players: Players, ends: list[int], fields: dict, warpers: list):
    prompts = prompts_of()
    config = config_of(do_sample=True, eos_token_id=ends, **fields)
    keys = [(11, row) for row in range(len(prompts.ids))]
    tokens = sample(
        players.model,
        prompts,
        config,
        reference=players.reference,
        adapters=players.adapters,
        coef=0.3,
        choice=RowDraws(keys),
    )
    numbers = np.stack([np.random.default_rng(key).random(NEW) for key in keys])
    expected = oracle(players, prompts, 0.3, ends, LogitsProcessorList(warpers), numbers)
    assert torch.equal(tokens, expected)
    if len(ends) > 1:
        ended = torch.isin(tokens, torch.tensor(ends)).any(1)
        assert ended.any()


def test_rows_before_mixed_from_are_the_policys_own(players: Players):
    prompts = prompts_of()
    tokens = sample(
        players.model,
        prompts,
        config_of(),
        reference=players.reference,
        adapters=players.adapters,
        coef=0.6,
        mixed_from=4,
    )
    policy, mixed = oracle(players, prompts, 0.0, [END]), oracle(players, prompts, 0.6, [END])
    width = tokens.shape[1]
    assert torch.equal(tokens[:4], policy[:4, :width])
    assert torch.equal(tokens[4:], mixed[4:, :width])


def test_no_mixture_is_the_policys_own_generation(players: Players):
    prompts = prompts_of()
    own = players.model.generate(
        input_ids=prompts.ids, attention_mask=prompts.mask, generation_config=config_of()
    )
    tokens = sample(
        players.model, prompts, config_of(), reference=players.reference, adapters=players.adapters, coef=0.0
    )
    assert torch.equal(tokens, own[:, prompts.ids.shape[1] :])


def test_mixture_is_neither_policy_nor_reference(players: Players):
    """TRL 1.13's fault with LoRA: its reference had the adapter in it, so the mixture was the policy."""
    prompts = prompts_of()
    by_coef = [
        sample(
            players.model,
            prompts,
            config_of(),
            reference=players.reference,
            adapters=players.adapters,
            coef=coef,
        )
        for coef in (0.0, 0.5, 1.0)
    ]
    widest = max(tokens.shape[1] for tokens in by_coef)
    padded = [torch.nn.functional.pad(tokens, (0, widest - tokens.shape[1])) for tokens in by_coef]
    assert not torch.equal(padded[1], padded[0])
    assert not torch.equal(padded[1], padded[2])
    assert not torch.equal(padded[0], padded[2])


@pytest.mark.parametrize("family", ["gpt2", "sliding window"])
def test_other_architectures(family: str):
    def build(seed: int) -> Any:
        torch.manual_seed(seed)
        if family == "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(
                    n_embd=32, n_layer=2, n_head=4, vocab_size=WORDS, n_positions=64, initializer_range=0.5
                )
            ).eval()
        return MistralForCausalLM(
            MistralConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                vocab_size=WORDS,
                sliding_window=8,
                initializer_range=0.4,
            )
        ).eval()

    policy, other = build(0), build(1)
    players = Players(policy, second_model(other), policy, lambda **inputs: other(**inputs).logits)
    prompts = prompts_of()
    tokens = sample(
        policy, prompts, config_of(), reference=players.reference, adapters=players.adapters, coef=0.4
    )
    assert torch.equal(tokens, oracle(players, prompts, 0.4, [END]))


class Refusal(RuntimeError):
    pass


@pytest.mark.parametrize("kind", ["adapter off", "adapter ref"])
def test_adapter_and_modes_are_restored_whatever_happens(kind: str):
    players = KINDS[kind]()
    players.outer.train()
    frozen = players.model.model.layers[0].mlp
    frozen.eval()
    before = [(name, parameter.requires_grad) for name, parameter in players.outer.named_parameters()]
    calls = []

    def fails(module: Any, *_: Any) -> None:
        calls.append(module)
        if len(calls) == 4:  # in the reference's second pass
            raise Refusal

    hook = players.model.model.norm.register_forward_hook(fails)
    with pytest.raises(Refusal):
        sample(
            players.model,
            prompts_of(),
            config_of(),
            reference=players.reference,
            adapters=players.adapters,
            coef=0.5,
        )
    hook.remove()
    assert players.outer.active_adapter == "default"
    inputs = {"input_ids": prompts_of().ids}
    after = [(name, parameter.requires_grad) for name, parameter in players.outer.named_parameters()]
    assert after == before
    assert players.model.training and not frozen.training
    players.outer.eval()
    assert not torch.allclose(players.outer(**inputs).logits, players.reference_logits(**inputs))


def test_nothing_has_a_gradient_and_each_model_reads_each_token_once(players: Players):
    read: list[int] = []
    hook = players.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    prompts = prompts_of()
    tokens = sample(
        players.model,
        prompts,
        config_of(eos_token_id=None),
        reference=players.reference,
        adapters=players.adapters,
        coef=0.5,
    )
    hook.remove()
    passes = 1 if players.outer is players.model or players.adapters else 2
    assert not tokens.requires_grad
    assert sum(read) == passes * (prompts.ids.shape[1] + NEW - 1)


def test_rows_that_have_ended_are_not_run(players: Players):
    rows: list[int] = []
    hook = players.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    config = config_of(do_sample=True, eos_token_id=list(range(1, 12)))
    sample(
        players.model,
        prompts_of(),
        config,
        reference=players.reference,
        adapters=players.adapters,
        coef=0.5,
        choice=RowDraws([(0, row) for row in range(6)]),
    )
    hook.remove()
    assert rows[0] == (12 if players.adapters else 6) and rows[-1] < 6
    assert rows == sorted(rows, reverse=True)


@pytest.mark.parametrize("kind", ["adapter off", "adapter ref"])
def test_mixed_weights_are_the_mean_of_the_weights(kind: str):
    players = KINDS[kind]()
    merged = [copy.deepcopy(players.outer), copy.deepcopy(players.outer)]
    policy = merged[0].merge_and_unload(adapter_names=["default"]).state_dict()
    if kind == "adapter ref":
        reference = merged[1].merge_and_unload(adapter_names=["ref"]).state_dict()
    else:
        reference = merged[1].unload().state_dict()
    mean = llama(0)
    mean.load_state_dict({name: 0.7 * policy[name] + 0.3 * reference[name] for name in policy})
    inputs = {"input_ids": prompts_of().ids}
    before = players.outer(**inputs).logits
    with mixed_weights(players.outer, 0.3):
        assert torch.allclose(players.outer(**inputs).logits, mean(**inputs).logits, atol=1e-4)
    assert torch.equal(players.outer(**inputs).logits, before)
    with pytest.raises(Refusal), mixed_weights(players.outer, 0.3):
        raise Refusal
    assert torch.equal(players.outer(**inputs).logits, before)


def test_equal_prompts_are_read_once(players: Players):
    one = prompts_of(rows=1)
    prompts = Prompts(one.ids.repeat(6, 1), one.mask.repeat(6, 1))
    rows: list[int] = []
    hook = players.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    tokens = sample(
        players.model,
        prompts,
        config_of(),
        reference=players.reference,
        coef=0.3,
        mixed_from=4,
        adapters=players.adapters,
    )
    hook.remove()
    assert rows[0] == (2 if players.adapters else 1)
    policy, mixed = oracle(players, prompts, 0.0, [END]), oracle(players, prompts, 0.3, [END])
    width = tokens.shape[1]
    assert torch.equal(tokens[:4], policy[:4, :width])
    assert torch.equal(tokens[4:], mixed[4:, :width])


def test_experts_that_read_flat_tokens_are_read_by_two(monkeypatch: pytest.MonkeyPatch):
    """A layer whose input has no rows, as an expert's: the pass is given up before anything is drawn."""
    players = adapter_off()
    mlp = type(players.model.model.layers[1].mlp)
    plain = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: plain(self, x.flatten(0, 1)).view(x.shape))
    prompts = prompts_of()
    tokens = sample(
        players.model,
        prompts,
        config_of(),
        reference=players.reference,
        coef=0.3,
        adapters=players.reference.adapters,
    )
    assert torch.equal(tokens, oracle(players, prompts, 0.3, [END]))
    assert not any("forward" in vars(module) for module in players.outer.modules())
