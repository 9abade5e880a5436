"""Metrics that TRL's trainers log in evaluations, without the prefix "eval_", shared by methods."""

PAIRS = (
    *("rewards/chosen", "rewards/rejected", "rewards/margins"),
    *("logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
)
LENGTHS = tuple(
    f"completions/{name}"
    for name in (
        *("mean_length", "min_length", "max_length", "clipped_ratio"),
        *("mean_terminated_length", "min_terminated_length", "max_terminated_length"),
    )
)
SAMPLED = ("reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", *LENGTHS)
