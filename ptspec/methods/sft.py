"""Supervised fine-tuning."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="sft",
    title="Supervised fine-tuning",
    trainer="trl:SFTTrainer",
    config="trl:SFTConfig",
    rows=Rows.PROMPT_COMPLETION,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    online=False,
    learns_references=True,
    reference=False,
    headline=(
        Headline("loss", "loss"),
        Headline("mean_token_accuracy", "token accuracy", ".1%"),
    ),
    paper="Ouyang et al. 2022, arXiv 2203.02155 §3.1",
    starter={"learning_rate": 2e-4, "num_train_epochs": 2},
    guide=Guide(
        after="base",
        when="First, whenever the model does not yet answer in the form you want, and you have good answers.",
        how="Minimises the cross-entropy of the completion given the prompt: −Σ_t log π(y_t | x, y_<t).",
        pros=("simple and stable", "one model in memory", "the base for every preference method"),
        cons=("imitates the data, its faults included", "says nothing about what is worse"),
        fields=(
            "learning_rate",
            "num_train_epochs",
            "per_device_train_batch_size",
            "max_length",
            "packing",
            "assistant_only_loss",
        ),
        example_row='{"prompt": "Where does Mira live?", "completion": "Mira lives in Tarn."}',
        example_stage='{"name": "sft", "method": "sft", "data": "train", "config": {"learning_rate": 2e-4}}',
    ),
)
