"""Group relative policy optimisation."""

from ptspec.methods.metrics import SAMPLED
from ptspec.methods.settings import Variant
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
    name="grpo",
    title="Group relative policy optimisation",
    trainer="ptspec.training.online:GRPOTrainer",
    config="trl:GRPOConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.REWARDS,
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
    reference=Reference(unless_zero="beta", once=False),
    sampling=Sampling(group="num_generations", caches=1, opponent=None),
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={"reward_weights": "goes to the reward itself: /rewards/<name>/weight"},
    field_types={"scale_rewards": {"type": ["string", "boolean"]}},
    needs={
        "ref_model_mixup_alpha": ("sync_ref_model", (True,)),
        "ref_model_sync_steps": ("sync_ref_model", (True,)),
        "sapo_temperature_neg": ("loss_type", ("sapo",)),
        "sapo_temperature_pos": ("loss_type", ("sapo",)),
    },
    clashes=(),
    variants=(
        Variant(
            "GRPO as published",
            "Shao et al. 2024, arXiv 2402.03300",
            {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
            (),
        ),
        Variant(
            "Dr. GRPO",
            "Liu et al. 2025, arXiv 2503.20783",
            {"loss_type": "dr_grpo", "scale_rewards": "none"},
            ("dr_grpo", "dr.grpo"),
        ),
        Variant(
            "DAPO",
            "Yu et al. 2025, arXiv 2503.14476",
            {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28, "mask_truncated_completions": True},
            ("dapo",),
        ),
        Variant(
            "GSPO",
            "Zheng et al. 2025, arXiv 2507.18071",
            {
                "importance_sampling_level": "sequence",
                "loss_type": "grpo",
                "beta": 0.0,
                "epsilon": 0.0003,
                "epsilon_high": 0.0004,
            },
            ("gspo",),
        ),
        Variant("BNPO", "Xiao et al. 2025, arXiv 2506.02864", {"loss_type": "bnpo"}, ("bnpo",)),
        Variant(
            "CISPO", "MiniMax 2025, arXiv 2506.13585", {"loss_type": "cispo", "epsilon_high": 5.0}, ("cispo",)
        ),
        Variant(
            "GDPO",
            "Liu et al. 2026, arXiv 2601.05242",
            {"multi_objective_aggregation": "normalize_then_sum"},
            ("gdpo",),
        ),
        Variant("SAPO", "Gao et al. 2025, arXiv 2511.20347", {"loss_type": "sapo"}, ("sapo",)),
    ),
    aliases=("rlvr",),
    in_place_of={"ppo": "samples and scores as PPO does, without a value model"},
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
    paper="Shao et al. 2024, arXiv 2402.03300",
    starter=Starter(
        "grpo",
        {"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_generations": 8, "max_steps": 100},
        choice=4,
        leads=False,
        follows=False,
    ),
    rates=Rates(full=(5e-7, 1e-6), lora=(1e-5, 1e-5), source="TRL's table, Tülu 3, Open-R1, ms-swift"),
    guide=Guide(
        after="sft",
        when="After SFT, when a program (or a reward model) can score any answer.",
        how=(
            "Samples num_generations answers a prompt; each one's advantage is its reward less the group's "
            "mean, over the group's standard deviation; a clipped policy gradient with β·KL to the "
            "reference (eq. 3). "
            "TRL's beta is 0: no reference unless you set it."
        ),
        pros=("learns from what it says itself", "no value model", "exact, verifiable rewards"),
        cons=(
            "most of the time goes into sampling",
            "follows the reward wherever it leads: watch samples and lengths",
        ),
        fields=(
            "num_generations",
            "max_completion_length",
            "beta",
            "learning_rate",
            "temperature",
            "loss_type",
        ),
        example_row='{"prompt": "Where does Mira live?", "answer": "Tarn"}',
        example_stage=(
            '{"name": "grpo", "method": "grpo", "data": "train", "rewards": ["correct"], '
            '"config": {"num_generations": 8}}'
        ),
    ),
)
