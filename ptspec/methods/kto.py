"""Kahneman-Tversky optimisation."""

from ptspec.methods.metrics import PAIRS
from ptspec.methods.settings import Clash, Is, IsNot, Variant
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
    Starter,
    Tokens,
    Yields,
)

METHOD = Method(
    name="kto",
    title="Kahneman-Tversky optimisation",
    trainer="trl:KTOTrainer",
    config="trl:KTOConfig",
    rows=Rows.UNPAIRED_PREFERENCE,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    tokens=Tokens(
        Encoding.ANSWERS,
        Cut.BEHIND_PROMPT,
        length="max_length",
        length_of_null=None,
        joins_forms=False,
        note=None,
    ),
    loss=Loss(
        sequences=1,
        head=Head.TILES,
        mean=Mean.PASS,
        compares=("kto",),
        pools=(),
        mismatched=("kto",),
        keeps_order=True,
    ),
    reference=Reference(unless_zero=None, once=False),
    sampling=None,
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={},
    field_types={},
    needs={
        "precompute_ref_batch_size": ("precompute_ref_log_probs", (True,)),
        "ref_model_mixup_alpha": ("sync_ref_model", (True,)),
        "ref_model_sync_steps": ("sync_ref_model", (True,)),
    },
    clashes=(
        Clash(
            {"train_sampling_strategy": IsNot(("sequential",)), "loss_type": Is(("kto",))},
            'the kto loss compares neighbours of a batch, which "{train_sampling_strategy}" would part',
            "leave it out: the rows are shuffled once, before",
        ),
    ),
    variants=(
        Variant(
            "unpaired APO-zero",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"loss_type": "apo_zero_unpaired"},
            ("apo_zero_unpaired",),
        ),
    ),
    aliases=(),
    in_place_of={},
    measured=Measured(
        metrics=("loss", "kl", *PAIRS, "entropy"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("rewards/margins", "margin"),
        Headline("kl", "KL"),
    ),
    paper="Ethayarajh et al. 2024, arXiv 2402.01306",
    starter=Starter(
        "kto",
        {"learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
        choice=2,
        leads=False,
        follows=False,
    ),
    rates=Rates(full=(5e-7, 1e-6), lora=(5e-6, 2e-4), source="TRL's script, LLaMA-Factory, axolotl"),
    guide=Guide(
        after="sft",
        when="After SFT, when single answers are marked good or bad and there are no pairs.",
        how=(
            "With r = log π(y|x)/π_ref(y|x) and a reference point z = KL(π‖π_ref) of the batch, minimises "
            "λ_D·(1 − σ(β(r − z))) for good answers and λ_U·(1 − σ(β(z − r))) for bad ones (eq. 8)."
        ),
        pros=("thumbs up and down are enough", "takes unbalanced data, by two weights"),
        cons=(
            "needs a batch of 4 or more for the reference point",
            "weaker than DPO where pairs are to be had",
        ),
        fields=(
            "beta",
            "desirable_weight",
            "undesirable_weight",
            "learning_rate",
            "per_device_train_batch_size",
            "max_length",
        ),
        example_row='{"prompt": "Where does Mira live?", "completion": "Mira lives in Tarn.", "label": true}',
        example_stage='{"name": "kto", "method": "kto", "data": "train", "config": {"beta": 0.1}}',
    ),
)
