"""Nash-MD on TRL's RLOO trainer.

The game of Munos et al. (2023), for a prompt x, a preference P and a reference μ:

    P_τ(π ≻ π') = P(π ≻ π') − τ·KL(π‖μ) + τ·KL(π'‖μ)

Nash-MD is mirror descent against the geometric mixture of policy and reference; Nash-MD-PG, its deep-learning
form, follows the policy gradient with sampled completions y ~ π_θ and y' ~ π^μ_θ:

    π^μ_θ(y|x)  ∝  π_θ(y|x)^(1−c) · μ(y|x)^c
    ∇_θ log π_θ(y|x) · ( P(y ≻ y' | x) − 1/2 − τ·log(π_θ(y|x)/μ(y|x)) )

RLOO's estimator is ∇ log π(y_i)·(R_i − mean_{j≠i} R_j), R = reward − β·Σ_t log(π(y_t|·)/π_ref(y_t|·)): with
the reward P(y ≻ y') and β = τ it is that gradient exactly, the leave-one-out mean in the place of 1/2. (The
KL term of TRL's GRPO is another: a forward KL per token in the loss, whose fixed point is not the game's,
and its group mean scales τ by G/(G−1).) So what a completion earns is the one thing that differs here; the
policy's own completions are sampled in the opponent's batch, because two batches take longer.

The mixture is sampled token by token, π^μ(y_t | ·) ∝ π(y_t | ·)^(1−c)·μ(y_t | ·)^c, as in the paper. The
fixed point of training is π ∝ μ·exp(P(· ≻ π^μ)/τ). At c = 0 that is the regularised Nash equilibrium; c moves
it away (total variation .015, .040, .087, .202 at c = .05, .125, .25, .5 in a game of three answers), while a
larger c damps the play. Hence the default of .125.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather
from torch import Tensor
from transformers import TrainerCallback
from trl import RLOOTrainer
from trl.data_utils import is_conversational

from ptspec.model.decoding.log_probabilities import LogProbabilities
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.judges import BradleyTerry, Judge, counted
from ptspec.training.leaving_rows import LeavingRows, until_end
from ptspec.training.nash_md.config import NashMDConfig
from ptspec.training.nash_md.ema import MovingAverage
from ptspec.training.nash_md.matches import Matches, Side, groups_of, mean_of, opponent_rows, pairings
from ptspec.training.nash_md.opponents import Opponent, reference_of
from ptspec.training.nash_md.reference import mixable
from ptspec.training.prompts_read_once import PromptsReadOnce
from ptspec.training.reference import adopt
from ptspec.training.row_prompts import RowTemplates

if TYPE_CHECKING:
    from ptspec.training.vllm.opponents import ServedOpponent


class NashMDTrainer(RowTemplates, LeavingRows, PromptsReadOnce, RLOOTrainer):  # type: ignore[misc]  # the library is untyped
    """Trains a policy towards the Nash equilibrium of a preference, regularised towards its reference.

    Takes what `RLOOTrainer` takes, and: `judge` or `reward_funcs` (callables; their Bradley-Terry preference
    with `args.reward_weights`), and `ref_model`, the reference of full fine-tuning, where it is not what the
    policy's own path holds. A PeftModel's reference is a frozen copy of the adapter it came with (TRL's
    "ref"), that of a new adapter (`peft_config`) the model without it.

    Logged beside RLOO's own: `win_rate/mixture` (P against the opponent, whichever it is), every
    `probe_steps` and in each evaluation `win_rate/reference` and `judge/asymmetry` (mean
    |P(a,b) + P(b,a) − 1|), `mixture_coef`, `opponents/mean_length`, and with Bradley-Terry the rewards of
    both sides; beside each completion of the completions table one of its opponents.
    """

    _tag_names = ("trl", "nash-md")
    _name = "Nash-MD"
    _paper = {  # noqa: RUF012
        "title": "Nash Learning from Human Feedback",
        "id": "2312.00886",
        "citation": "@inproceedings{munos2024nash, title={Nash Learning from Human Feedback}, "
        "author={Munos, R{\\'e}mi and others}, booktitle={ICML}, year={2024}}",
    }

    def __init__(
        self,
        model: Any,
        args: NashMDConfig,
        *,
        judge: Judge | None = None,
        reward_funcs: RewardFunction | Sequence[RewardFunction] | None = None,
        ref_model: Any | None = None,
        **options: Any,
    ) -> None:
        self.preference = _preference(judge, reward_funcs, args.reward_weights)
        # TRL gets one reward, the win probability, and loads a reference only if none is given.
        with _overridden(args, reward_weights=None, beta=0.0 if ref_model is not None else args.beta):
            super().__init__(model=model, reward_funcs=[self.preference], args=args, **options)
        if ref_model is not None:
            adopt(self, ref_model)
        self._check_opponent()
        self.groups: list[range] = []
        self.sampled_beside: list[list[int]] | None = None
        self.recorder: LogProbabilities | None = None
        self.served_opponent: ServedOpponent | None = None
        self.average = MovingAverage(self.model, args.ema_decay) if args.opponent == "ema" else None
        if self.average is not None:
            self.add_callback(_Averaging(self.average))

    def _check_opponent(self) -> None:
        kind = self.args.opponent
        if kind == "weight_mixture" and (self.ref_model is not None or not mixable(self.model)):
            raise ValueError(
                'opponent "weight_mixture" mixes LoRA weights and needs plain LoRA (no DoRA, no '
                'modules_to_save, no full fine-tuning); use "mixture"'
            )
        if kind == "ema" and self.is_deepspeed_enabled:
            raise ValueError('opponent "ema" keeps whole weights, which DeepSpeed splits up; use "mixture"')

    @cached_property
    def opponent(self) -> Opponent:
        """The opponent of the config, over the present policy."""
        policy = self.accelerator.unwrap_model(self.model)
        ref_model = None if self.ref_model is None else self.accelerator.unwrap_model(self.ref_model)
        return Opponent(
            self.args.opponent,
            policy,
            reference_of(policy, ref_model),
            self.average,
            self.generation_config,
            synced=self._is_synced(),
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.average is not None:
            self.average.save(self._average_file(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.average is not None and checkpoint is not None:
            self.average.load(self._average_file(checkpoint))

    def _average_file(self, folder: str) -> Path:
        return Path(folder) / f"policy_average_{self.accelerator.process_index}.safetensors"

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.groups = groups_of(inputs, self._generations())
        self.sampled_beside = None
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        return scored

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, fields: Any) -> list[list[int]]:
        """Generate the policy's completions; the mixture's come in the same batch, kept for the rewards."""
        if images is not None:
            raise ValueError("Nash-MD takes prompts of text; these hold images")
        if self.args.opponent != "mixture" or self.use_transformers_continuous_batching:
            own = self._completions(prompt_ids, images, fields)
            return own or super()._generate_single_turn(prompt_ids, images, fields)
        policy_rows, rows = len(prompt_ids), self._opponent_rows()
        with self._generating():
            padded = self._padded([*prompt_ids, *(prompt_ids[row] for row in rows)])
            recorder = LogProbabilities(policy_rows, self.temperature) if self._is_exact() else None
            choice = self._choice(policy_rows, len(rows))
            sampled = self.opponent.sample_beside_policy(
                padded, policy_rows, self._mixture_coef(), choice, recorder
            )
        self.recorder = recorder
        token_ids = until_end(sampled, self.eos_token_ids)
        self.sampled_beside = token_ids[policy_rows:]
        return token_ids[:policy_rows]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Reuse the sampled log-probabilities for TRL's first request after a generation."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None and not torch.is_grad_enabled():
            return recorder.all(logits_to_keep), None, None
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *more, **named
        )

    def _is_exact(self) -> bool:
        """Whether sampling and scoring compute the same: float32 without dropout."""
        modules = self.accelerator.unwrap_model(self.model).modules()
        is_single = all(parameter.dtype == torch.float32 for parameter in self.model.parameters())
        dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in modules)
        return is_single and not dropout and self.accelerator.mixed_precision == "no"

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> Tensor:
        """Return each completion's mean win probability over its prompt's opponents, (all rows, 1), gathered.

        TRL gathers rewards over the processes itself; a judge compares this process's rows only.
        """
        policy = Side(prompts, completions, completion_ids_list, list(range(len(prompts))))
        opponents = self._side(prompts, self.sampled_beside or self._sampled(prompts))
        matches = Matches(self.preference, inputs, policy, self._hooks())
        wins = matches.against(opponents, self.groups)
        self._log_matches(matches, wins, opponents)
        if self._probe_is_due():
            self._log_metric("judge/asymmetry", matches.asymmetry(opponents, self.groups))
            reference = self._side(prompts, self._sampled(prompts, of_reference=True))
            self._log_metric("win_rate/reference", matches.against(reference, self.groups).nanmean().item())
        return gather(wins.to(self.accelerator.device).unsqueeze(1))

    def _generations(self) -> int:
        generations: int = self.num_generations if self.model.training else self.num_generations_eval
        return generations

    def _probe_is_due(self) -> bool:
        """Return whether a multiple of `probe_steps` is among the steps that learn from this generation.

        Always True in an evaluation, where the reference is the only opponent that does not learn.
        """
        if not self.model.training:
            return True
        if not self.args.probe_steps:
            return False
        passes = self.args.steps_per_generation * self.num_iterations
        steps = math.ceil(passes / self.args.gradient_accumulation_steps)
        due: bool = -self.state.global_step % self.args.probe_steps < steps
        return due

    def _mixture_coef(self) -> float:
        coef: float = self.args.mixture_coef_at(self.state.global_step / max(1, self.state.max_steps))
        return coef

    def _hooks(self) -> dict[str, Any]:
        """Return TRL's arguments of reward functions besides the columns."""
        return {
            "trainer_state": self.state,
            "log_extra": self._log_completion_extra,
            "log_metric": self._log_metric,
        }

    def _opponent_rows(self) -> list[int]:
        return opponent_rows(self.groups, self.args.num_opponents / self.num_generations)

    def _sampled(self, prompts: list[Any], of_reference: bool = False) -> list[list[int]]:
        """Return completions of the opponent or the reference for the opponents' rows.

        Generated in a separate batch.
        """
        rows = self._opponent_rows()
        contexts = [self._contexts[row] for row in rows]
        prompt_ids, _, _ = self._tokenize_with([prompts[row] for row in rows], contexts)
        if self.served_opponent is not None and not of_reference:
            return self.served_opponent.sample(
                self.vllm_generation, self.opponent, prompt_ids, self._mixture_coef()
            )
        with self._generating():
            padded, choice = self._padded(prompt_ids), self._choice(0, len(rows))
            if of_reference:
                completions = self.opponent.sample_reference(padded, choice)
            else:
                completions = self.opponent.sample(padded, self._mixture_coef(), choice)
        return until_end(completions, self.eos_token_ids)

    def _side(self, prompts: list[Any], token_ids: list[list[int]]) -> Side:
        """Decode completions of the opponents' rows, as TRL decodes the policy's."""
        rows = self._opponent_rows()
        own = [prompts[row] for row in rows]
        texts: list[Any] = self.processing_class.batch_decode(token_ids, skip_special_tokens=True)
        if is_conversational({"prompt": own[0]}):
            texts = [[{"role": "assistant", "content": text}] for text in texts]
        return Side(own, texts, token_ids, rows)

    def _log_matches(self, matches: Matches, wins: Tensor, opponents: Side) -> None:
        self._log_metric("win_rate/mixture", wins.nanmean().item())
        self._log_metric("opponents/mean_length", mean_of([len(ids) for ids in opponents.token_ids]))
        if self.args.opponent != "ema":
            self._log_metric("mixture_coef", self._mixture_coef())
        for name, (own, other) in matches.reward_means().items():
            self._log_metric(f"rewards/{name}/policy", own)
            self._log_metric(f"rewards/{name}/opponents", other)
        for name, value in counted(self.preference).items():
            self._log_metric(name, value)
        shown = {row: opponents.completions[number] for row, number in pairings(self.groups, opponents)}
        self._log_completion_extra("opponent", [shown[row] for row in sorted(shown)])


def _preference(
    judge: Judge | None,
    reward_funcs: RewardFunction | Sequence[RewardFunction] | None,
    weights: Sequence[float] | None,
) -> Judge:
    if (judge is None) == (reward_funcs is None):
        raise ValueError("Nash-MD takes a judge or reward functions: exactly one of judge and reward_funcs")
    if judge is not None:
        return judge
    rewards: Any = tuple(reward_funcs) if isinstance(reward_funcs, Sequence) else (reward_funcs,)
    if not all(callable(reward) for reward in rewards):
        raise ValueError("reward_funcs of Nash-MD are functions: reward(prompts, completions, **columns)")
    if weights is not None and len(weights) != len(rewards):
        raise ValueError(f"reward_weights has {len(weights)} values for {len(rewards)} reward functions")
    return BradleyTerry(rewards, tuple(weights) if weights is not None else (1.0,) * len(rewards))


@contextmanager
def _overridden(args: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(args, name) for name in values}
    try:
        for name, value in values.items():
            setattr(args, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(args, name, value)


class _Averaging(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    def __init__(self, average: MovingAverage) -> None:
        self.average = average

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.average.update()
