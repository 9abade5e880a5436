"""The Nash-MD trainer on a tiny policy: its gradient by the paper's equation, its references, its logs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from support import games
from support.games import PHRASES, Game
from support.judge_server import judge_at
from transformers import PrinterCallback

from ptspec.diagnostics import StageError
from ptspec.training.nash_md.config import NashMDConfig
from ptspec.training.nash_md.trainer import NashMDTrainer

GAME: Game = PHRASES
PROMPTS = ["play", "play move", "hold then play"]


@pytest.fixture(scope="module")
def base() -> Any:
    return games.policy_of(GAME, [0.4, 0.3, 0.2, 0.1], seed=0)


def lora(**fields: Any) -> LoraConfig:
    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **fields)


def adapted(base: Any, seed: int) -> PeftModel:
    """The base with an adapter that changes it, as one that comes in trained does."""
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(base), lora(init_lora_weights=False))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data *= 3
    return model


def trainer_of(model: Any, folder: Path, *, parts: dict | None = None, **config: Any) -> NashMDTrainer:
    fields = {
        **games.SETTINGS,
        "max_completion_length": GAME.longest + 1,
        "per_device_train_batch_size": 16,
        "num_generations": 8,
        "num_opponents": 3,
        "max_steps": 2,
        "logging_steps": 1,
        **config,
    }
    parts = parts if parts is not None else {"judge": games.judge_of(GAME)}
    trainer = NashMDTrainer(
        model,
        NashMDConfig(output_dir=str(folder), **fields),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS, "gold": ["hold", "move", "hold then move"]}),
        processing_class=games.tokenizer_of(GAME.vocabulary),
        **parts,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def logged(trainer: NashMDTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(trainer: NashMDTrainer) -> dict[str, torch.Tensor]:
    return {
        name: parameter.detach().clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }


class Recorded:
    """A judge that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.judge = games.judge_of(GAME)

    def __call__(self, prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        self.asked = list(zip(prompts, a, b, strict=True))
        return self.judge(prompts, a, b)


def sequence_log_probability(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Σ_t log π(y_t | x, y_<t) of each row, (rows,)."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, batch["prompt_ids"].shape[1] - 1 : -1]
    each = logits.log_softmax(-1).gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    return (each * batch["completion_mask"]).sum(1)


def test_the_gradient_is_nash_md_pg(base: Any, tmp_path: Path):
    """Munos et al. (2023), Nash-MD-PG: E[∇ log π(y|x)·(P(y ≻ y'|x) − 1/2 − τ·log(π(y|x)/μ(y|x)))], y' ~ π^μ.

    RLOO's baseline, the mean over the other completions of the prompt, stands for 1/2: the same expectation.
    """
    tau, size, recorded = 0.3, 8, Recorded()
    model = adapted(base, seed=1)
    trainer = trainer_of(model, tmp_path, parts={"judge": recorded}, beta=tau)
    with torch.no_grad():  # away from the reference, the frozen copy of the adapter that came in
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in PROMPTS[:2] for _ in range(size)])

    wins = torch.tensor(recorded.judge(*map(list, zip(*recorded.asked, strict=True))))
    preference = wins.view(2 * size, trainer.args.num_opponents).mean(1)
    log_policy = sequence_log_probability(model, batch)
    model.set_adapter("ref")
    log_reference = sequence_log_probability(model, batch).detach()
    model.set_adapter("default")
    value = preference - tau * (log_policy.detach() - log_reference)
    others = (value.view(2, size).sum(1, keepdim=True) - value.view(2, size)) / (size - 1)
    objective = (log_policy * (value - others.view(-1))).mean()
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(objective, parameters)

    assert (log_policy.detach() - log_reference).abs().max() > 0.1
    assert torch.allclose(batch["advantages"], value - others.view(-1), atol=1e-4)
    loss = trainer._compute_loss(model, batch)
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        # Of the largest entry: small ones are sums of large ones, in an order that the processor chooses.
        assert (-ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_opponents_are_those_of_the_mixture(base: Any, tmp_path: Path):
    """Their frequencies over 2048 rows against the exact mixture, from which both models are far."""
    recorded = Recorded()
    policy, reference = (
        games.policy_of(GAME, start, 1) for start in ([0.8, 0.1, 0.05, 0.05], [0.1] * 3 + [0.7])
    )
    trainer = trainer_of(
        policy,
        tmp_path,
        parts={"judge": recorded, "ref_model": reference},
        mixture_coef=0.5,
        per_device_train_batch_size=2048,
        num_opponents=8,
    )
    trainer.model.train()  # evaluated, it would be asked against the reference last
    trainer._generate_and_score_completions([{"prompt": "play"}] * 2048)
    opponents = [opponent for _, _, opponent in recorded.asked]
    counts = torch.tensor([opponents.count(answer) for answer in GAME.answers], dtype=torch.double)
    sides = [games.distribution(model.eval(), GAME) for model in (policy, reference)]
    exact = games.mixture(GAME, *sides, 0.5)
    assert min(games.total_variation(exact, side) for side in sides) > 0.1
    assert games.total_variation(counts / counts.sum(), exact) < 0.04


@pytest.mark.parametrize("kind", ["new adapter", "adapter that came in", "full"])
def test_the_reference_is_the_policy_that_came_in(kind: str, base: Any, tmp_path: Path):
    parts: dict[str, Any] = {"judge": games.judge_of(GAME)}
    if kind == "new adapter":
        model, parts = copy.deepcopy(base), {**parts, "peft_config": lora()}
    elif kind == "adapter that came in":
        model = adapted(base, seed=1)
    else:
        model, parts = copy.deepcopy(base), {**parts, "ref_model": copy.deepcopy(base)}
    trainer = trainer_of(model, tmp_path, parts=parts, max_steps=3, probe_steps=1)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    kl = logged(trainer, "kl")
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert abs(kl[-1]) > 1e-6
    assert logged(trainer, "win_rate/reference")[0] == pytest.approx(0.5, abs=0.25)
    after = dict(trainer.model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert kind == "full" or all("lora" in name and ".default." in name for name in moved)


def test_what_is_logged(base: Any, tmp_path: Path):
    trainer = trainer_of(
        copy.deepcopy(base),
        tmp_path,
        parts={"judge": games.judge_of(GAME), "peft_config": lora()},
        max_steps=4,
        probe_steps=2,
        mixture_coef=0.5,
        mixture_coef_end=0.1,
    )
    trainer.train()
    assert logged(trainer, "mixture_coef") == pytest.approx([0.5, 0.4, 0.3, 0.2])
    assert len(logged(trainer, "win_rate/mixture")) == 4
    assert len(logged(trainer, "win_rate/reference")) == 2
    assert logged(trainer, "judge/asymmetry") == pytest.approx([0, 0])
    for name in ("kl", "entropy", "completions/mean_length", "opponents/mean_length"):
        assert len(logged(trainer, name)) == 4
    assert len(trainer._logs["extra"]["opponent"]) == len(trainer._logs["completion"]) == 16


@pytest.mark.parametrize(("probe_steps", "probes"), [(1, 3), (5, 2), (7, 2), (10, 1), (0, 0)])
def test_a_probe_that_is_due_between_two_generations_is_taken(
    probe_steps: int, probes: int, base: Any, tmp_path: Path
):
    """Generations at steps 0, 3 and 6: step 5 learns from the second, 7 from the third."""
    parts = {"judge": games.judge_of(GAME), "peft_config": lora()}
    trainer = trainer_of(
        copy.deepcopy(base),
        tmp_path,
        parts=parts,
        per_device_train_batch_size=8,
        max_steps=8,
        steps_per_generation=3,
        probe_steps=probe_steps,
    )
    trainer.train()
    assert len(logged(trainer, "win_rate/reference")) == probes


def test_a_judge_that_favours_a_side_is_told(base: Any, tmp_path: Path):
    parts = {"judge": lambda prompts, a, b: [0.9] * len(a), "peft_config": lora()}
    trainer = trainer_of(copy.deepcopy(base), tmp_path, parts=parts, probe_steps=1)
    trainer.train()
    assert logged(trainer, "judge/asymmetry") == pytest.approx([0.8, 0.8])


def chooses_gold(prompts, completions, gold, trainer_state, log_metric, **columns):
    log_metric("step_seen", float(trainer_state.global_step))
    return [float(text == wanted) for text, wanted in zip(completions, gold, strict=True)]


def shortness(prompts, completions, completion_ids, **columns):
    return [-float(len(ids)) for ids in completion_ids]


def test_what_a_judge_behind_an_endpoint_counts_is_logged(base: Any, tmp_path: Path, serve: Any):
    server = serve(lambda body, number: "A")
    parts = {"judge": judge_at(server.address, tmp_path), "peft_config": lora()}
    trainer = trainer_of(copy.deepcopy(base), tmp_path, parts=parts)
    trainer.train()
    last = [row for row in trainer.state.log_history if "judge/asked" in row][-1]
    assert last["judge/asked"] == len(server.requests) > 0
    assert last["judge/retried"] == last["judge/unparsed"] == 0
    assert last["judge/order_disagreement"] == 1


def test_rewards_are_compared_by_bradley_terry(base: Any, tmp_path: Path):
    trainer = trainer_of(
        copy.deepcopy(base),
        tmp_path,
        parts={"reward_funcs": [chooses_gold, shortness], "peft_config": lora()},
        reward_weights=[2.0, 0.5],
    )
    trainer.train()
    assert trainer.preference.weights == (2.0, 0.5)
    assert trainer.args.reward_weights == [2.0, 0.5]
    assert all(0 < rate < 1 for rate in logged(trainer, "win_rate/mixture"))
    assert all(-4 <= mean <= -1 for mean in logged(trainer, "rewards/shortness/policy"))
    assert len(logged(trainer, "rewards/chooses_gold/opponents")) == 2
    assert logged(trainer, "step_seen") == [0.0, 1.0]


def loses_count(prompts, a, b):
    return [0.5] * (len(a) - 2)


def says_nan(prompts, a, b):
    return [0.5] * (len(a) - 1) + [float("nan")]


@pytest.mark.parametrize(("judge", "row"), [(loses_count, "row 47"), (says_nan, "row 48")])
def test_a_wrong_judge_stops_training_with_its_name_and_row(judge: Any, row: str, base: Any, tmp_path: Path):
    model = adapted(base, seed=1)
    trainer = trainer_of(model, tmp_path, parts={"judge": judge})
    with pytest.raises(StageError, match=f"{judge.__name__}.*{row}"):
        trainer.train()
    assert model.active_adapter == "default"


def test_a_judge_and_rewards_at_once_or_neither_are_refused(base: Any, tmp_path: Path):
    for parts in ({}, {"judge": loses_count, "reward_funcs": shortness}):
        with pytest.raises(ValueError, match="exactly one"):
            trainer_of(copy.deepcopy(base), tmp_path, parts=parts)


def test_weight_mixture_is_refused_without_plain_lora(base: Any, tmp_path: Path):
    judge = games.judge_of(GAME)
    for parts in (
        {"judge": judge, "ref_model": copy.deepcopy(base)},
        {"judge": judge, "peft_config": lora(use_dora=True)},
    ):
        with pytest.raises(ValueError, match="weight_mixture"):
            trainer_of(copy.deepcopy(base), tmp_path, parts=parts, opponent="weight_mixture")


def test_the_average_follows_the_policy_and_leaves_it_alone(base: Any, tmp_path: Path):
    decay = 0.8
    parts = {"judge": games.judge_of(GAME), "ref_model": copy.deepcopy(base)}
    trainer = trainer_of(copy.deepcopy(base), tmp_path, parts=parts, opponent="ema", ema_decay=decay)
    first = weights(trainer)
    seen: list[dict[str, torch.Tensor]] = []
    update = trainer.average.update
    trainer.average.update = lambda: (update(), seen.append(weights(trainer)))
    trainer.train()
    for name, average in trainer.average.average.items():
        expected = first[name]
        for step in seen:
            expected = decay * expected + (1 - decay) * step[name]
        assert torch.allclose(average, expected, atol=1e-6)
    before = weights(trainer)
    with pytest.raises(RuntimeError), trainer.average.in_place():
        inside = weights(trainer)
        raise RuntimeError
    assert all(torch.equal(weights(trainer)[name], before[name]) for name in before)
    assert any(not torch.equal(inside[name], before[name]) for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("opponent", ["mixture", "ema", "weight_mixture"])
def test_a_resumed_run_ends_with_the_same_bits(opponent: str, base: Any, tmp_path: Path):
    config = {
        "opponent": opponent,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "probe_steps": 2,
    }
    whole = trainer_of(adapted(base, seed=1), tmp_path, ema_decay=0.5, **config)
    whole.train()
    torch.manual_seed(99)
    resumed = trainer_of(adapted(base, seed=1), tmp_path, ema_decay=0.5, **config)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert all(torch.equal(weights(whole)[name], weights(resumed)[name]) for name in weights(whole))
    assert logged(whole, "win_rate/mixture") == logged(resumed, "win_rate/mixture")
    if whole.average is not None:
        averages = whole.average.average, resumed.average.average
        assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])


def test_log_probabilities_kept_from_sampling_are_those_of_scoring(base: Any, tmp_path: Path):
    """At a temperature, and of rows that end at different tokens; in lower precision they are scored anew."""
    model = adapted(base, seed=1)
    trainer = trainer_of(model, tmp_path, temperature=0.7)
    kept, rows = (
        trainer._get_per_token_logps_and_entropies,
        [{"prompt": p} for p in PROMPTS for _ in range(8)],
    )
    batch = trainer._generate_and_score_completions(rows)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        scored, _, _ = kept(trainer.model, ids, mask, batch["completion_ids"].shape[1])
    assert len(set(batch["completion_mask"].sum(1).tolist())) > 1
    assert batch["old_logps"] == pytest.approx((scored * batch["completion_mask"]).sum(1), abs=1e-4)
    assert trainer._is_exact()
    trainer.accelerator.state._mixed_precision = "bf16"
    assert not trainer._is_exact()
    trainer.accelerator.state._mixed_precision = "no"
    model.to(torch.bfloat16)
    assert not trainer._is_exact()
