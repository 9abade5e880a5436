"""Contrastive preference optimisation, and SimPO as one of its losses, by TRL's experimental CPO."""

from ptspec.methods.metrics import PAIRS
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
    Rows,
    Starter,
    Tokens,
    Yields,
)

_OF_ENCODERS = "is of encoder-decoder models; leave it out"

METHOD = Method(
    name="cpo",
    title="Contrastive preference optimisation (and SimPO)",
    trainer="trl.experimental.cpo:CPOTrainer",
    config="trl.experimental.cpo:CPOConfig",
    rows=Rows.PREFERENCE,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    tokens=Tokens(
        Encoding.TEXTS, Cut.ANSWER, length="max_length", length_of_null=512, joins_forms=False, note=None
    ),
    loss=Loss(
        sequences=2,
        head=Head.LOGITS,
        mean=Mean.PASS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=None,
    sampling=None,
    learns_references=False,  # only with cpo_alpha above 0: SimPO's loss does not contain it
    renders_rows=False,
    recasts_quantised=True,
    selective_checkpointing=False,
    takes_no_stream="its trainer in TRL 1.16 makes tokens of all rows first",
    own_defaults=(),
    owned={"is_encoder_decoder": _OF_ENCODERS, "max_completion_length": _OF_ENCODERS},
    field_types={},
    needs={
        "simpo_gamma": ("loss_type", ("simpo", "alphapo")),
        "label_smoothing": ("loss_type", ("sigmoid", "simpo", "alphapo")),
        "cpo_alpha": ("loss_type", ("sigmoid", "hinge", "ipo", "simpo")),
    },
    clashes=(),
    variants=(
        Variant(
            "SimPO",
            "Meng et al. 2024, arXiv 2405.14734",
            {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0},
            ("simpo",),
        ),
        Variant(
            "CPO-SimPO",
            "Xu et al. 2024, github.com/fe1ixxu/CPO_SIMPO",
            {"loss_type": "simpo", "cpo_alpha": 1.0, "beta": 2.0, "simpo_gamma": 1.0},
            ("cpo_simpo", "cposimpo"),
        ),
        Variant(
            "AlphaPO",
            "Gupta et al. 2025, arXiv 2501.03884",
            {"loss_type": "alphapo", "alpha": 0.25, "beta": 2.5},
            ("alphapo",),
        ),
    ),
    aliases=(),
    in_place_of={},
    measured=Measured(
        metrics=("loss", "rewards/accuracies", *PAIRS, "nll_loss"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("rewards/margins", "margin"),
        Headline("rewards/accuracies", "preference accuracy", ".1%"),
    ),
    paper="Xu et al. 2024, arXiv 2401.08417",
    starter=Starter(
        "cpo",
        {"learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(
        full=(5e-7, 1e-6), lora=(5e-6, 1e-5), source="TRL's default, SimPO's own runs; LoRA ten times that"
    ),
    guide=Guide(
        after="sft",
        when="After SFT, when you have pairs and no memory or time for a reference policy.",
        how=(
            "Minimises −log σ(β·[log π(y_w|x) − log π(y_l|x)]) − cpo_alpha·mean log π(y_w|x): DPO with a "
            "uniform reference, and the chosen answer's likelihood to hold it (eq. 3-5). "
            'SimPO, "loss_type": "simpo" with "cpo_alpha": 0, takes the mean over each answer\'s tokens, '
            "less a margin simpo_gamma."
        ),
        pros=(
            "no reference policy: half the passes of DPO",
            "SimPO does not reward length",
        ),
        cons=(
            "nothing holds it near the policy that came in but the learning rate, and cpo_alpha",
            "experimental in TRL: it may go there",
            "TRL computes whole logits: with a large vocabulary it needs more memory than DPO",
        ),
        fields=("loss_type", "beta", "cpo_alpha", "simpo_gamma", "learning_rate", "max_length"),
        example_row=(
            '{"prompt": "Where does Mira live?", "chosen": "Mira lives in Tarn.", "rejected": "Tarn"}'
        ),
        example_stage=(
            '{"name": "simpo", "method": "cpo", "data": "train", '
            '"config": {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}}'
        ),
    ),
)
