"""Odds ratio preference optimisation, by TRL's experimental ORPO, which only this file names."""

from ptspec.methods.metrics import PAIRS
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

METHOD = Method(
    name="orpo",
    title="Odds ratio preference optimisation",
    trainer="trl.experimental.orpo:ORPOTrainer",
    config="trl.experimental.orpo:ORPOConfig",
    rows=Rows.PREFERENCE,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    tokens=Tokens(
        Encoding.TEXTS,
        Cut.ANSWER,
        length="max_length",
        length_of_null=512,
        joins_forms=False,
        note="the odds ratio compares what is marked; the likelihood term takes in the prompt too",
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
    learns_references=True,
    renders_rows=False,
    recasts_quantised=True,
    selective_checkpointing=False,
    takes_no_stream="its trainer in TRL 1.16 makes tokens of all rows first",
    own_defaults=(),
    owned={},
    field_types={},
    needs={},
    clashes=(),
    variants=(),
    aliases=(),
    in_place_of={},
    measured=Measured(
        metrics=("loss", "rewards/accuracies", *PAIRS, "nll_loss", "log_odds_ratio", "log_odds_chosen"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("log_odds_chosen", "log odds"),
        Headline("rewards/accuracies", "preference accuracy", ".1%"),
    ),
    paper="Hong et al. 2024, arXiv 2403.07691",
    starter=Starter(
        "orpo",
        {"learning_rate": 5e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(
        full=(1e-6, 8e-6),
        lora=(5e-5, 8e-5),
        source="TRL's default, Zephyr-ORPO, the paper; LoRA ten times theirs",
    ),
    guide=Guide(
        after="base",
        when="In place of SFT and DPO, when you have pairs and want one stage from the base.",
        how=(
            "Minimises −mean log π(x, y_w) − β·log σ(log odds(y_w|x) − log odds(y_l|x)), with "
            "odds = P/(1 − P) and P the mean-token likelihood (eq. 6-7; TRL's first term takes in the "
            "prompt's tokens): learns the chosen answer and shuns the rejected one at once."
        ),
        pros=("one stage, one model in memory", "no reference policy, no reward model"),
        cons=(
            "nothing holds it near a reference policy",
            "experimental in TRL: it may go there; β and the learning rate matter more than in DPO",
        ),
        fields=(
            "beta",
            "learning_rate",
            "max_length",
            "per_device_train_batch_size",
            "num_train_epochs",
            "warmup_steps",
        ),
        example_row=(
            '{"prompt": "Where does Mira live?", "chosen": "Mira lives in Tarn.", "rejected": "Tarn"}'
        ),
        example_stage='{"name": "orpo", "method": "orpo", "data": "train", "config": {"beta": 0.2}}',
    ),
)
