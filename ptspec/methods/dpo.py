"""Direct preference optimisation."""

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

_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that use `label_smoothing`; "sigmoid" does not."""
_DIVERGENT = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
"""Losses for divergences other than reverse KL."""
_RANKED = ("aot", "aot_unpaired")
"""Losses that rank the rows of a pass."""

METHOD = Method(
    name="dpo",
    title="Direct preference optimisation",
    trainer="trl:DPOTrainer",
    config="trl:DPOConfig",
    rows=Rows.PREFERENCE,
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
        sequences=2,
        head=Head.TILES,
        mean=Mean.ROWS,
        compares=_RANKED,
        pools=("sft",),
        mismatched=(),
        keeps_order=False,
    ),
    reference=Reference(unless_zero=None, once=True),
    sampling=None,
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={},
    field_types={"loss_type": {"type": ["string", "array"], "items": {"type": "string"}}},
    needs={
        "label_smoothing": ("loss_type", _SMOOTHED),
        "discopop_tau": ("loss_type", ("discopop",)),
        "f_alpha_divergence_coef": ("f_divergence_type", ("alpha_divergence",)),
        "precompute_ref_batch_size": ("precompute_ref_log_probs", (True,)),
        "ref_model_mixup_alpha": ("sync_ref_model", (True,)),
        "ref_model_sync_steps": ("sync_ref_model", (True,)),
    },
    clashes=(
        Clash(
            {"f_divergence_type": IsNot(("reverse_kl",)), "loss_type": IsNot(_DIVERGENT)},
            '"{loss_type}" has no form for "{f_divergence_type}"',
            f'"reverse_kl", or a loss of {", ".join(_DIVERGENT)}',
        ),
        Clash(
            {"use_weighting": Is((True,)), "loss_type": Is(_RANKED)},
            '"use_weighting" weighs pairs, and "aot" sorts answers out of their pairs',
            "keep one",
        ),
        Clash(
            {"loss_type": Is(("exo_pair",)), "label_smoothing": Is((0, None))},
            '"exo_pair" needs a "label_smoothing" above 0',
            '"label_smoothing": 0.001 is the paper\'s',
        ),
        Clash(
            {"padding_free": Is((True,))},
            '"padding_free" has no effect: DPO in TRL 1.16 pads all the same',
            "leave it out",
            is_ignored=True,
        ),
    ),
    variants=(
        Variant("IPO", "Azar et al. 2023, arXiv 2310.12036", {"loss_type": "ipo"}, ("ipo",)),
        Variant(
            "APO-zero",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"loss_type": "apo_zero"},
            ("apo_zero", "apo"),
        ),
        Variant(
            "APO-down",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"loss_type": "apo_down"},
            ("apo_down",),
        ),
        Variant("NCA", "Chen et al. 2024, arXiv 2402.05369", {"loss_type": "nca_pair"}, ("nca",)),
        Variant(
            "robust DPO",
            "Chowdhury et al. 2024, arXiv 2403.00409",
            {"loss_type": "robust", "label_smoothing": 0.1},
            ("robust_dpo", "rdpo"),
        ),
        Variant(
            "EXO",
            "Ji et al. 2024, arXiv 2402.00856",
            {"loss_type": "exo_pair", "label_smoothing": 0.001},
            ("exo",),
        ),
        Variant("SPPO", "Wu et al. 2024, arXiv 2405.00675", {"loss_type": "sppo_hard"}, ("sppo",)),
        Variant("BCO over pairs", "Jung et al. 2024, arXiv 2404.04656", {"loss_type": "bco_pair"}, ("bco",)),
        Variant("AOT", "Melnyk et al. 2024, arXiv 2406.05882", {"loss_type": "aot"}, ("aot",)),
        Variant("WPO", "Zhou et al. 2024, arXiv 2406.11827", {"use_weighting": True}, ("wpo",)),
        Variant(
            "RPO",
            "Pang et al. 2024, arXiv 2404.19733",
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]},
            ("rpo",),
        ),
    ),
    aliases=(),
    in_place_of={
        **dict.fromkeys(("hinge", "slic"), 'with "loss_type": "hinge"'),
        "discopop": 'with "loss_type": "discopop"',
    },
    measured=Measured(
        metrics=("loss", "rewards/accuracies", *PAIRS, "mean_token_accuracy", "entropy"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("rewards/margins", "margin"),
        Headline("rewards/accuracies", "preference accuracy", ".1%", void_at_zero_of="rewards/margins"),
    ),
    paper="Rafailov et al. 2023, arXiv 2305.18290",
    starter=Starter(
        "dpo",
        {"learning_rate": 2e-5, "num_train_epochs": 1, "beta": 0.1},
        choice=1,
        leads=False,
        follows=True,
    ),
    rates=Rates(full=(5e-7, 1e-6), lora=(5e-6, 2e-4), source="TRL's table, Zephyr, SmolLM3, axolotl"),
    guide=Guide(
        after="sft",
        when="After SFT, when you have pairs of a better and a worse answer to the same prompt.",
        how=(
            "Minimises −log σ(β·[log π(y_w|x)/π_ref(y_w|x) − log π(y_l|x)/π_ref(y_l|x)]) (eq. 7): raises the "
            "chosen answer over the rejected one, relative to the frozen policy that came in."
        ),
        pros=("no reward model, no sampling while training", "stable, cheap"),
        cons=(
            "learns from fixed pairs only",
            "can lower the probability of the chosen answer too: add the sft term (loss_type) or a smaller "
            "learning rate, and watch task accuracy beside preference accuracy",
        ),
        fields=(
            "beta",
            "learning_rate",
            "loss_type",
            "loss_weights",
            "per_device_train_batch_size",
            "max_length",
        ),
        example_row=(
            '{"prompt": "Where does Mira live?", "chosen": "Mira lives in Tarn.", "rejected": "Tarn"}'
        ),
        example_stage='{"name": "dpo", "method": "dpo", "data": "train", "config": {"beta": 0.1}}',
    ),
)
