"""On-policy distillation.

The policy samples completions and minimises the divergence from a teacher on them.
"""

from ptspec.methods.metrics import LENGTHS
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
    Sampling,
    Starter,
    Tokens,
    Yields,
)

_TEACHER = "goes to /stages/<name>/teacher"

METHOD = Method(
    name="distillation",
    title="On-policy distillation",
    trainer="ptspec.training.online:DistillationTrainer",
    config="trl:DistillationConfig",
    rows=Rows.PROMPT_ONLY,
    yields=Yields.POLICY,
    feedback=Feedback.TEACHER,
    tokens=Tokens(Encoding.PROMPT, Cut.NEVER, length=None, length_of_null=None, joins_forms=False, note=None),
    loss=Loss(
        sequences=1,
        head=Head.LEARNED_TILES,
        mean=Mean.PASS,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=None,
    sampling=Sampling(group=None, caches=1, opponent=None),
    learns_references=False,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=False,
    takes_no_stream=None,
    own_defaults=(),
    owned={
        "teacher_model_name_or_path": _TEACHER,
        "teacher_model_revision": f"{_TEACHER}/revision",
        "teacher_model_init_kwargs": _TEACHER,
        "max_tool_calling_iterations": "no tools are called while a stage trains",
    },
    field_types={},
    needs={},
    clashes=(),
    variants=(
        Variant("MiniLLM's divergence", "Gu et al. 2024, arXiv 2306.08543", {"beta": 1.0}, ("minillm",)),
        Variant("GKD with the forward KL", "Agarwal et al. 2024, arXiv 2306.13649", {"beta": 0.0}, ()),
        Variant("GKD with the JSD", "Agarwal et al. 2024, arXiv 2306.13649", {"beta": 0.5}, ()),
    ),
    aliases=("gkd", "distill", "distil", "kd", "on_policy_distillation"),
    in_place_of={
        **dict.fromkeys(
            ("seqkd", "sequence_kd"),
            'learns from what the policy says; the teacher\'s answers are rows for "sft"',
        ),
        "gold": 'is the nearest; it needs a teacher with the same vocabulary ("gold" does not)',
    },
    measured=Measured(
        metrics=("loss", "entropy", *LENGTHS),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "divergence", ".3f"),
        Headline("entropy", "entropy"),
        Headline("completions/mean_length", "length", ".1f"),
    ),
    paper="Agarwal et al. 2024, arXiv 2306.13649",
    starter=Starter(
        "distillation",
        {"learning_rate": 2e-4, "per_device_train_batch_size": 8, "max_steps": 100},
        choice=None,
        leads=False,
        follows=False,
    ),
    rates=Rates(full=(1e-6, 2e-5), lora=(2e-5, 2e-4), source="TRL's default and its script"),
    guide=Guide(
        after="sft",
        when="After SFT, when a better model with the same vocabulary is at hand and has to become smaller.",
        how=(
            "Samples an answer a prompt and minimises, at each of its tokens, the generalised Jensen-Shannon "
            "divergence of policy and teacher over the whole vocabulary: beta 1 (TRL's) is KL(π‖π_T), beta 0 "
            "KL(π_T‖π), between them β·KL(π_T‖m) + (1−β)·KL(π‖m) with m = β·π_T + (1−β)·π."
        ),
        pros=(
            "a lesson at every token, where a reward says one number",
            "learns where its own answers go wrong; no reward, no labels",
        ),
        cons=(
            "the teacher is in memory beside the policy, and reads every answer",
            "the vocabularies must be the same",
            "it becomes as good as the teacher, its faults included",
        ),
        fields=("beta", "temperature", "max_completion_length", "learning_rate", "top_p", "max_steps"),
        example_row='{"prompt": "Where does Mira live?"}',
        example_stage=(
            '{"name": "student", "method": "distillation", "data": "train", "teacher": "Qwen/Qwen3-8B", '
            '"config": {"max_completion_length": 64}}'
        ),
    ),
)
