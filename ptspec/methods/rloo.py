"""REINFORCE with the mean reward of the prompt's other completions as baseline (leave-one-out)."""

from ptspec.methods.metrics import SAMPLED
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
    name="rloo",
    title="REINFORCE leave-one-out",
    trainer="ptspec.training.online:RLOOTrainer",
    config="trl:RLOOConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.REWARDS,
    tokens=Tokens(Encoding.PROMPT, Cut.NEVER, length=None, length_of_null=None, joins_forms=False, note=None),
    loss=Loss(
        sequences=1,
        head=Head.TILES,
        mean=Mean.PASS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=Reference(unless_zero="beta", once=False),
    sampling=Sampling(group="num_generations", caches=1, opponent=None),
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={"reward_weights": "goes to the reward itself: /rewards/<name>/weight"},
    field_types={},
    needs={
        "ref_model_mixup_alpha": ("sync_ref_model", (True,)),
        "ref_model_sync_steps": ("sync_ref_model", (True,)),
    },
    clashes=(),
    variants=(),
    aliases=("reinforce_leave_one_out",),
    in_place_of={
        "reinforce": "is REINFORCE with the mean of the prompt's other answers as the baseline",
        **dict.fromkeys(
            ("reinforce++", "reinforce_plus_plus"),
            'is the nearest, with "normalize_advantages": true over the whole batch',
        ),
        "remax": "is the nearest: its baseline is the mean of the other answers, not the greedy one",
    },
    measured=Measured(
        metrics=("loss", *SAMPLED),
        of_reward=("mean", "std"),
        best="reward",
    ),
    headline=(
        Headline("reward", "reward"),
        Headline("reward_std", "spread"),
        Headline("completions/mean_length", "length", ".1f"),
        Headline("kl", "KL", ".3f"),
    ),
    paper="Ahmadian et al. 2024, arXiv 2402.14740",
    starter=Starter(
        "rloo",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 100},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(full=(5e-7, 1e-6), lora=(5e-6, 1e-5), source="TRL's default; LoRA ten times that"),
    guide=Guide(
        after="sft",
        when="After SFT, when a program or a reward model can score any answer and plain REINFORCE will do.",
        how=(
            "Samples num_generations answers a prompt; each one's advantage is its reward, less β·log "
            "π(y|x)/π_ref(y|x), less the mean of the other answers'. A whole answer is one action: its "
            "log-probability is a sum over its tokens, which are not weighed by its length."
        ),
        pros=(
            "unbiased: nothing is divided by a spread or a length",
            "works from two answers a prompt",
            "no value model",
        ),
        cons=(
            "the scale of the rewards is the scale of the gradient",
            "TRL's beta is 0.05: the penalty counts as reward, so that a faint reward drowns in it",
            "most of the time goes into sampling",
        ),
        fields=(
            "num_generations",
            "max_completion_length",
            "beta",
            "learning_rate",
            "temperature",
            "normalize_advantages",
        ),
        example_row='{"prompt": "Where does Mira live?", "answer": "Tarn"}',
        example_stage=(
            '{"name": "rloo", "method": "rloo", "data": "train", "rewards": ["correct"], '
            '"config": {"num_generations": 4}}'
        ),
    ),
)
