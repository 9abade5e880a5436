"""Supervised fine-tuning."""

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
    Rows,
    Starter,
    Tokens,
    Yields,
)

METHOD = Method(
    name="sft",
    title="Supervised fine-tuning",
    trainer="trl:SFTTrainer",
    config="trl:SFTConfig",
    rows=Rows.PROMPT_COMPLETION,
    yields=Yields.POLICY,
    feedback=Feedback.NONE,
    tokens=Tokens(
        Encoding.COMPLETION,
        Cut.ROW,
        length="max_length",
        length_of_null=None,
        joins_forms=True,
        note=None,
    ),
    loss=Loss(
        sequences=1,
        head=Head.TILES,
        mean=Mean.TOKENS_OF_STEP,
        compares=(),
        pools=(),
        mismatched=(),
        keeps_order=False,
    ),
    reference=None,
    sampling=None,
    learns_references=True,
    renders_rows=True,
    recasts_quantised=False,
    selective_checkpointing=True,
    takes_no_stream=None,
    own_defaults=(),
    owned={},
    field_types={"truncation_mode": {"type": "string", "enum": ["keep_start"]}},
    needs={"packing_strategy": ("packing", (True,))},
    clashes=(
        Clash(
            {"max_length": Is((None,)), "packing": Is((True,))},
            '"packing" fills sequences of "max_length" tokens, which is null',
            "give it",
        ),
        Clash(
            {"padding_free": Is((True,)), "packing": IsNot((True,)), "max_length": IsNot((None,))},
            '"padding_free" without "packing" cuts nothing, whatever "max_length" says',
            'set "packing": true, or "max_length": null',
        ),
    ),
    variants=(Variant("DFT", "Wu et al. 2025, arXiv 2508.05629", {"loss_type": "dft"}, ()),),
    aliases=("finetune", "full", "instruct", "supervised"),
    in_place_of={
        "lora": 'with "adapter": {"use_lora": true}',
        "qlora": 'with "adapter": {"use_lora": true, "use_qlora": true}',
        **dict.fromkeys(
            ("pt", "cpt", "pretrain", "pretraining", "clm"), 'over rows with "text", with "packing"'
        ),
    },
    measured=Measured(
        metrics=("loss", "mean_token_accuracy", "entropy"),
        of_reward=(),
        best="loss",
    ),
    headline=(
        Headline("loss", "loss"),
        Headline("mean_token_accuracy", "token accuracy", ".1%"),
    ),
    paper="Ouyang et al. 2022, arXiv 2203.02155 §3.1",
    starter=Starter(
        "sft", {"learning_rate": 2e-4, "num_train_epochs": 2}, choice=3, leads=True, follows=False
    ),
    rates=Rates(
        full=(5e-6, 1e-4), lora=(2e-5, 2e-4), source="TRL's default, its table and its imdb example, Tülu 3"
    ),
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
