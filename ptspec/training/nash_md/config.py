"""The config of a Nash-MD stage: TRL's `RLOOConfig` and further fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trl import RLOOConfig

OPPONENTS = ("mixture", "ema", "weight_mixture")


@dataclass
class NashMDConfig(RLOOConfig):  # type: ignore[misc]  # the library is untyped
    """`RLOOConfig` with the opponent's fields. `beta` is the paper's τ, the weight of KL(π‖π_ref).

    Raises `ValueError`, listing every error, for values that are out of range or unusable by Nash-MD.
    """

    beta: float = field(
        default=0.05,
        metadata={
            "help": "Weight of the KL divergence from the reference (tau of the Nash-MD paper). Must be "
            "above 0: without it the game has no unique equilibrium that mirror descent converges to."
        },
    )
    opponent: str = field(
        default="mixture",
        metadata={
            "help": "Whom the policy is judged against. 'mixture': the geometric mixture of policy and "
            "reference, token by token (Nash-MD). 'ema': the moving average of the policy's weights "
            "(Nash-EMA). 'weight_mixture': policy and reference mixed in the LoRA weights; one forward pass "
            "a token, an approximation of 'mixture'.",
            "choices": list(OPPONENTS),
        },
    )
    mixture_coef: float = field(
        default=0.125,
        metadata={
            "help": "Weight c of the reference in the opponent pi^(1-c) pi_ref^c, from 0 (the policy plays "
            "itself) to 1 (the reference). A larger c steadies training and moves its fixed point away from "
            "the regularised Nash equilibrium. Not used with opponent 'ema'."
        },
    )
    mixture_coef_end: float | None = field(
        default=None,
        metadata={
            "help": "If set, mixture_coef goes linearly from its value at the first step to this at the last."
        },
    )
    ema_decay: float = field(
        default=0.99,
        metadata={
            "help": "Weight of the past in the moving average of the policy after each optimizer step; only "
            "with opponent 'ema'."
        },
    )
    num_opponents: int | None = field(
        default=None,
        metadata={
            "help": "Completions sampled from the opponent for each prompt; every completion of the policy "
            "is judged against all of them. If None, half of num_generations. More of them "
            "lower the variance of the rewards; each costs a generation and num_generations judgements."
        },
    )
    probe_steps: int = field(
        default=10,
        metadata={
            "help": "Every so many steps the policy is also judged against the reference "
            "(win_rate/reference), and a judge is asked again with the sides swapped (judge/asymmetry). "
            "Where several steps learn from one generation, it is the one whose steps hold the step that is "
            "due. 0 turns both off."
        },
    )

    def __post_init__(self) -> None:
        faults = [*self._out_of_range(), *self._unsupported()]
        if faults:
            raise ValueError("; ".join(faults))
        super().__post_init__()
        if self.num_opponents is None:
            self.num_opponents = max(1, self.num_generations // 2)

    def _out_of_range(self) -> Iterator[str]:
        if not self.beta > 0:
            yield f"beta must be above 0, not {self.beta}: the KL weight makes the equilibrium unique"
        if self.opponent not in OPPONENTS:
            yield f"opponent must be one of {', '.join(OPPONENTS)}, not {self.opponent!r}"
        if not 0 <= self.mixture_coef <= 1:
            yield f"mixture_coef must be between 0 and 1, not {self.mixture_coef}"
        if self.mixture_coef_end is not None and not 0 <= self.mixture_coef_end <= 1:
            yield f"mixture_coef_end must be between 0 and 1, not {self.mixture_coef_end}"
        if not 0 <= self.ema_decay < 1:
            yield f"ema_decay must be at least 0 and below 1, not {self.ema_decay}"
        if self.num_opponents is not None and self.num_opponents < 1:
            yield f"num_opponents must be at least 1, not {self.num_opponents}"
        if self.probe_steps < 0:
            yield f"probe_steps must be at least 0, not {self.probe_steps}"

    def _unsupported(self) -> Iterator[str]:
        if self.use_vllm:
            yield "use_vllm must be false: a server that samples is given to the trainer, not to its config"
        if self.sync_ref_model:
            yield "sync_ref_model must be false: the equilibrium is defined by a reference that stays"
        if isinstance(self.generation_kwargs, dict) and self.generation_kwargs.get("num_beams", 1) != 1:
            yield "generation_kwargs must not set num_beams: completions are sampled, not searched"

    def mixture_coef_at(self, progress: float) -> float:
        """Return c at `progress` (0 to 1) of training."""
        if self.mixture_coef_end is None:
            return self.mixture_coef
        share = min(max(progress, 0.0), 1.0)
        return self.mixture_coef + (self.mixture_coef_end - self.mixture_coef) * share
