"""TRL's own reward functions (`trl.rewards`), under TRL's names.

Imports no TRL, so that a recipe can be checked without it. Their options are described by
`schemas/rewards.schema.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.rewards.matching import text_of

Options = Mapping[str, Any]

SOLUTION = "solution"
"""TRL's name of the right answer: of a column, and of the argument."""


@dataclass(frozen=True)
class TrlReward:
    """A TRL reward function: what it scores, and the `columns` of the right answer (empty: none).

    `is_made`: the options are arguments of a factory of the reward. `module`: a required package.
    `is_graded`: its values are not only 0 and 1. `reads_thoughts`: it uses the thoughts of a completion,
    which are kept.
    """

    name: str
    summary: str
    columns: tuple[str, ...] = ()
    is_made: bool = False
    module: str | None = None
    is_graded: bool = False
    reads_thoughts: bool = True


TRL: Mapping[str, TrlReward] = {
    reward.name: reward
    for reward in (
        TrlReward(
            "accuracy_reward",
            "1 where the answer in LaTeX (boxed first) equals the solution, by math-verify",
            columns=(SOLUTION,),
            module="math_verify",
            reads_thoughts=False,
        ),
        TrlReward(
            "reasoning_accuracy_reward",
            "the same of what stands after the thoughts; 0 where they do not end",
            columns=(SOLUTION,),
            module="math_verify",
        ),
        TrlReward("think_format_reward", "1 where the completion begins with <think>…</think>"),
        TrlReward(
            "get_soft_overlong_punishment",
            "0 up to a number of tokens, then falling to -1",
            is_made=True,
            is_graded=True,
        ),
        TrlReward(
            "get_cosine_scaled_reward",
            "accuracy_reward's verdict, worth more where a right completion is short and a wrong one long",
            columns=(SOLUTION,),
            is_made=True,
            module="math_verify",
            is_graded=True,
        ),
        TrlReward(
            "get_repetition_penalty_reward",
            "a penalty for n-grams of tokens that repeat",
            is_made=True,
            is_graded=True,
        ),
    )
}
"""Every reward function of TRL by its name in `trl.rewards`."""


def made(name: str, options: Options) -> Callable[..., list[float | None]]:
    """Return TRL's reward `name`, called with chats in any form of data, and the right answer as `solution`.

    A row without a right answer is not scored.
    """
    import trl.rewards

    reward, given = TRL[name], {key: value for key, value in options.items() if key != "column"}
    function = getattr(trl.rewards, name)
    function, beside = (function(**given), {}) if reward.is_made else (function, given)

    def score(
        completions: Sequence[Any], golds: Sequence[str | None] | None, **more: Any
    ) -> list[float | None]:
        rows = [n for n in range(len(completions)) if golds is None or golds[n] is not None]
        chats = [[{"role": "assistant", "content": text_of(completions[n])}] for n in rows]
        columns = {} if golds is None else {SOLUTION: [golds[n] for n in rows]}
        ids = more.get("completion_ids")
        if ids is not None:
            columns["completion_ids"] = [ids[n] for n in rows]
        scores: list[float | None] = [None] * len(completions)
        found = function(completions=chats, **columns, **beside) if rows else []
        for n, value in zip(rows, found, strict=True):
            scores[n] = value
        return scores

    return score
