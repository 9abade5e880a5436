"""A reward model from preference pairs."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="reward",
    title="Reward model",
    trainer="trl:RewardTrainer",
    config="trl:RewardConfig",
    rows=Rows.PREFERENCE,
    yields=Yields.REWARD_MODEL,
    feedback=Feedback.NONE,
    online=False,
    reference=False,
    fused_head=False,
    headline=(
        Headline("loss", "loss"),
        Headline("accuracy", "pair accuracy"),
        Headline("margin", "margin"),
    ),
    paper="Ouyang et al. 2022, arXiv 2203.02155 §3.5",
    starter={"learning_rate": 1e-4, "num_train_epochs": 1},
    guide=Guide(
        after="base",
        when="Before GRPO or Nash-MD, when no program can score an answer but people can compare two.",
        how=(
            "A scalar head on the base, trained as Bradley-Terry has it: −log σ(r(x, y_w) − r(x, y_l)). "
            "A later stage names it in its rewards."
        ),
        pros=("turns pairs into a score for any answer",),
        cons=("scores answers unlike its training data badly, and online methods find such answers",),
        fields=(
            "learning_rate",
            "num_train_epochs",
            "per_device_train_batch_size",
            "max_length",
            "center_rewards_coefficient",
        ),
        example_row=(
            '{"prompt": "Where does Mira live?", "chosen": "Mira lives in Tarn.", "rejected": "Tarn"}'
        ),
        example_stage='{"name": "rm", "method": "reward", "data": "train", "config": {"max_length": 512}}',
    ),
)
