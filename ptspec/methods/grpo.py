"""Group relative policy optimisation."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="grpo",
    title="Group relative policy optimisation",
    trainer="ptspec.training.grpo_trainer:GRPOTrainer",
    config="trl:GRPOConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.REWARDS,
    online=True,
    reference=True,
    reference_unless_zero="beta",
    owned={"reward_weights": "goes to the reward itself: /rewards/<name>/weight"},
    headline=(
        Headline("reward", "reward"),
        Headline("reward_std", "spread"),
        Headline("completions/mean_length", "length", ".1f"),
        Headline("kl", "KL", ".3f"),
    ),
    paper="Shao et al. 2024, arXiv 2402.03300",
    starter={"learning_rate": 2e-5, "per_device_train_batch_size": 8, "num_generations": 8, "max_steps": 100},
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
