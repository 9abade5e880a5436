"""Nash learning from human feedback, by mirror descent."""

from ptspec.methods.metrics import SAMPLED
from ptspec.methods.settings import Default
from ptspec.methods.types import (
    Cut,
    Encoding,
    Feedback,
    Guide,
    Head,
    Headline,
    Loss,
    Mean,
    Measured,
    Method,
    Rates,
    Reference,
    Rows,
    Sampling,
    Starter,
    Tokens,
    Yields,
)

METHOD = Method(
    name="nash_md",
    title="Nash learning by mirror descent (Nash-MD)",
    trainer="ptspec.training.nash_md.trainer:NashMDTrainer",
    config="ptspec.training.nash_md.config:NashMDConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.JUDGE_OR_REWARDS,
    tokens=Tokens(
        Encoding.PROMPT,
        Cut.NEVER,
        length=None,
        length_of_null=None,
        joins_forms=False,
        note=None,
    ),
    loss=Loss(
        sequences=1,
        head=Head.TILES,
        mean=Mean.PASS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=Reference(unless_zero=None, once=False),
    sampling=Sampling(group="num_generations", caches=2, opponent="opponent"),
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(
        Default(
            "num_generations",
            8,
            "of two generations the baseline is one other completion, and its noise is the reward's own",
        ),
        Default(
            "adam_beta1",
            0.0,
            "momentum turns the play around the equilibrium into a spiral outwards, to one answer",
        ),
    ),
    owned={
        "reward_weights": "goes to the reward itself: /rewards/<name>/weight",
        "use_vllm": 'goes to /compute/vllm (opponents "ema" and "weight_mixture")',
        "sync_ref_model": "the reference is the policy that came in, and stays",
        "ref_model_mixup_alpha": "the reference is the policy that came in, and stays",
        "ref_model_sync_steps": "the reference is the policy that came in, and stays",
    },
    field_types={},
    needs={},
    clashes=(),
    variants=(),
    aliases=("nash",),
    in_place_of={
        **dict.fromkeys(("online_dpo", "xpo", "online"), 'and "grpo" learn from what they sample'),
        "nash_ema": 'with "opponent": "ema"',
    },
    measured=Measured(
        metrics=("loss", *SAMPLED, "win_rate/mixture", "win_rate/reference", "judge/asymmetry"),
        of_reward=("policy", "opponents"),
        best="win_rate/reference",
    ),
    headline=(
        Headline("win_rate/mixture", "wins over mixture"),
        Headline("win_rate/reference", "wins over reference"),
        Headline("kl", "KL", ".3f"),
        Headline("completions/mean_length", "length", ".1f"),
    ),
    paper="Munos et al. 2023, arXiv 2312.00886",
    starter=Starter(
        "nash_md",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_generations": 8, "max_steps": 100},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(full=(5e-7, 1e-6), lora=(5e-6, 1e-5), source="TRL's example; LoRA ten times that"),
    guide=Guide(
        after="sft",
        when=(
            "After SFT, when you can say which of two answers is better but no score says how good one is: "
            "tastes that go round in a circle, or an LLM as judge."
        ),
        how=(
            "Samples num_generations answers a prompt and judges them against num_opponents answers of the "
            "mixture π^(1−c)·π_ref^c (c = mixture_coef), sampled token by token. Policy gradient on "
            "P(y ≻ y') − β·log(π(y|x)/π_ref(y|x)), less the mean of the prompt's other answers."
        ),
        pros=(
            "aims at the policy that no other beats, even where preferences are not transitive",
            "takes judges and rewards alike; learns from what it says itself",
            "the regularised equilibrium is unique; test games end within .08 of the fixed point",
        ),
        cons=(
            "samples and judges more than GRPO: a step takes up to 1.6 times as long",
            "mixture_coef moves the end away from the equilibrium: keep it small",
            "a learning rate that does not fall stays on its way round the equilibrium",
        ),
        fields=(
            "mixture_coef",
            "beta",
            "num_generations",
            "num_opponents",
            "max_completion_length",
            "learning_rate",
            "opponent",
        ),
        example_row='{"prompt": "Where does Mira live?", "answer": "Tarn"}',
        example_stage=(
            '{"name": "nash", "method": "nash_md", "data": "train", "rewards": ["correct"], '
            '"config": {"beta": 0.05, "mixture_coef": 0.125}}'
        ),
    ),
)
