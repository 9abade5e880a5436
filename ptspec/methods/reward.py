"""A reward model from preference pairs."""

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
    name="reward",
    title="Reward model",
    trainer="trl:RewardTrainer",
    config="trl:RewardConfig",
    rows=Rows.PREFERENCE,
    yields=Yields.REWARD_MODEL,
    feedback=Feedback.NONE,
    tokens=Tokens(
        Encoding.SCORED,
        Cut.DROPPED,
        length="max_length",
        length_of_null=None,
        joins_forms=False,
        note="the model gives one score for a whole sequence: no token is learned by itself",
    ),
    loss=Loss(
        sequences=2,
        head=Head.SCORE,
        mean=Mean.ROWS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=None,
    sampling=None,
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={},
    field_types={},
    needs={},
    clashes=(),
    variants=(),
    aliases=("rm", "reward_model", "reward_modeling", "orm"),
    in_place_of={"prm": "trains a model that scores whole answers; steps are not scored"},
    measured=Measured(
        metrics=("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("accuracy", "pair accuracy"),
        Headline("margin", "margin"),
    ),
    paper="Ouyang et al. 2022, arXiv 2203.02155 §3.5",
    starter=Starter(
        "reward_model",
        {"learning_rate": 1e-4, "num_train_epochs": 1},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(
        full=(3e-6, 2e-4), lora=(1e-4, 1e-3), source="TRL's documentation, Tülu 3, axolotl, LLaMA-Factory"
    ),
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
