"""A merge of policies, as a stage's method without training.

It is not in `METHODS`: it has no trainer, rows or config; code that needs these checks `Stage.trains`. It has
a name, yields a policy, has no reference and samples nothing.
"""

from ptspec.methods.types import (
    Cut,
    Encoding,
    Feedback,
    Guide,
    Head,
    Loss,
    Mean,
    Measured,
    Method,
    Rows,
    Starter,
    Tokens,
    Yields,
)

NAME = "merge"

MERGE = Method(
    name=NAME,
    title="A weighted sum of policies; trains nothing",
    trainer="",
    config="",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    tokens=Tokens(Encoding.PROMPT, Cut.NEVER, length=None, length_of_null=None, joins_forms=False, note=None),
    loss=Loss(
        sequences=0,
        head=Head.LOGITS,
        mean=Mean.ROWS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=None,
    sampling=None,
    learns_references=False,
    renders_rows=False,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={},
    field_types={},
    needs={},
    clashes=(),
    variants=(),
    aliases=(
        "soup",
        "model_soup",
        "mergekit",
        "linear",
        "weighted_average",
        "task_arithmetic",
        "model_merge",
    ),
    in_place_of={
        **dict.fromkeys(("slerp", "nuslerp", "multislerp"), "sums by weight, not along the arc"),
        **dict.fromkeys(
            ("ties", "dare_ties", "dare_linear", "della", "breadcrumbs", "model_stock", "sce"),
            "sums whole updates; what is trimmed or chosen from them is not here",
        ),
    },
    measured=Measured(metrics=(), of_reward=(), best=""),
    headline=(),
    paper="Wortsman et al. 2022, arXiv 2203.05482",
    starter=Starter(NAME, {}, choice=None, leads=False, follows=False),
    rates=None,
    guide=Guide(
        after="two stages",
        when="After several stages from one policy: each good at something else, or of several strengths.",
        how="Adds up the parts, each times its weight: of adapters Σ wᵢ·BᵢAᵢ over the weights below them, of "
        "full weights Σ wᵢWᵢ with Σ wᵢ = 1.",
        pros=("trains nothing, samples as fast as one policy", "often keeps more of what each part can do"),
        cons=("the parts must come from the same weights", "no mixture of outputs: measure what comes out"),
        fields=(),
        example_row="",
        example_stage='{"name": "soup", "method": "merge", "of": {"dpo_mild": 0.5, "dpo_strong": 0.5}}',
    ),
)
