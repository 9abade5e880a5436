"""Kahneman-Tversky optimisation."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="kto",
    title="Kahneman-Tversky optimisation",
    trainer="trl:KTOTrainer",
    config="trl:KTOConfig",
    rows=Rows.UNPAIRED_PREFERENCE,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    online=False,
    reference=True,
    headline=(
        Headline("loss", "loss"),
        Headline("rewards/margins", "margin"),
        Headline("kl", "KL"),
    ),
    paper="Ethayarajh et al. 2024, arXiv 2402.01306",
    starter={"learning_rate": 2e-5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "beta": 0.1},
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
