"""Nash-MD: Nash learning from human feedback by mirror descent. The trainer is ours."""

from ptspec.methods.types import Feedback, Guide, Headline, Method, Rows, Yields

METHOD = Method(
    name="nash_md",
    title="Nash learning by mirror descent",
    trainer="ptspec.training.nash_md.trainer:NashMDTrainer",
    config="ptspec.training.nash_md.config:NashMDConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.JUDGE_OR_REWARDS,
    online=True,
    reference=True,
    headline=(
        Headline("win_rate/mixture", "wins"),
        Headline("win_rate/reference", "wins over reference"),
        Headline("kl", "KL", ".3f"),
        Headline("completions/mean_length", "length", ".1f"),
    ),
    paper="Munos et al. 2023, arXiv 2312.00886",
    owned={"reward_weights": "goes to the reward itself: /rewards/<name>/weight"},
    guide=Guide(
        when=(
            "After SFT, when better is a matter of comparison (a judge, or several rewards that pull apart), "
            "above all where preferences go in circles, which no single reward can express."
        ),
        how=(
            "The policy plays against an opponent drawn token by token from the mixture "
            "π^(1−c)·π_ref^c, and follows the gradient of P(y ≻ y′) − β·KL(π‖π_ref) "
            "(Nash-MD-PG): towards the Nash equilibrium of the regularised game."
        ),
        pros=(
            "needs no reward model: a judge of pairs is enough",
            "does not run after one exploitable answer: the equilibrium may be mixed",
        ),
        cons=(
            "samples the opponent too; each pair is judged",
            "mixture_coef moves the fixed point away from the equilibrium (docs/nash_md.md)",
        ),
        fields=(
            "beta",
            "mixture_coef",
            "num_generations",
            "num_opponents",
            "max_completion_length",
            "learning_rate",
        ),
        example_row='{"prompt": "Where does Mira live?"}',
        example_stage=(
            '{"name": "nash", "method": "nash_md", "data": "train", "judge": "better", '
            '"config": {"beta": 0.05, "num_generations": 8}}'
        ),
    ),
)
