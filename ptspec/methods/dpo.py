"""Direct preference optimisation."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="dpo",
    title="Direct preference optimisation",
    trainer="trl:DPOTrainer",
    config="trl:DPOConfig",
    rows=Rows.PREFERENCE,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    online=False,
    reference=True,
    headline=(
        Headline("loss", "loss"),
        Headline("rewards/margins", "margin"),
        Headline("rewards/accuracies", "preference accuracy", ".1%", void_at_zero_of="rewards/margins"),
    ),
    paper="Rafailov et al. 2023, arXiv 2305.18290",
    starter={"learning_rate": 2e-5, "num_train_epochs": 1, "beta": 0.1},
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
