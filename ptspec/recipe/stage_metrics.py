"""What each method's trainer logs when it is evaluated: the names that `metric_for_best_model` may have.

Read from TRL 1.16's trainers, without the prefix "eval_"; a test compares them with what is logged.
"""

from __future__ import annotations

from collections.abc import Mapping

from ptspec.recipe.plan import Stage

_PAIRS = (
    *("rewards/chosen", "rewards/rejected", "rewards/margins"),
    *("logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
)
_LENGTHS = tuple(
    f"completions/{name}"
    for name in (
        *("mean_length", "min_length", "max_length", "clipped_ratio"),
        *("mean_terminated_length", "min_terminated_length", "max_terminated_length"),
    )
)
_SAMPLED = ("reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", *_LENGTHS)

METRICS: Mapping[str, tuple[str, ...]] = {
    "sft": ("loss", "mean_token_accuracy", "entropy"),
    "dpo": ("loss", "rewards/accuracies", *_PAIRS, "mean_token_accuracy", "entropy"),
    "orpo": ("loss", "rewards/accuracies", *_PAIRS, "nll_loss", "log_odds_ratio", "log_odds_chosen"),
    "kto": ("loss", "kl", *_PAIRS, "entropy"),
    "reward": ("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward"),
    "grpo": ("loss", *_SAMPLED),
    "nash_md": ("loss", *_SAMPLED, "win_rate/mixture", "win_rate/reference", "judge/asymmetry"),
}


def known_metrics(stage: Stage) -> tuple[str, ...]:
    """The metrics that an evaluation of `stage` logs, with those of its own rewards; none where the method is
    not among `METRICS`."""
    known = METRICS.get(stage.method.name, ())
    parts = ("policy", "opponents") if stage.method.name == "nash_md" else ("mean", "std")
    own = (f"rewards/{name}/{part}" for name in stage.rewards for part in parts)
    return (*known, *own) if known else ()


def is_open(stage: Stage) -> bool:
    """Whether it may log what is not known here: rewards log what they like."""
    return stage.method.online or stage.method.name not in METRICS


def example_of(stage: Stage) -> str:
    """What an online method's best step is known by. Of Nash-MD by a fixed opponent: the mixture learns."""
    return "eval_win_rate/reference" if stage.method.name == "nash_md" else "eval_reward"
