"""Evaluation scores the very tokens that TRL's trainers train on."""

import pytest

from ptspec.data.layouts.convert import Reading, assistant_turn, user_turn
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.evaluation.encoding import encode_completions

pytestmark = pytest.mark.slow

ROW = {
    "prompt": "Where does Mira live?",
    "completion": "Mira lives in Tarn.",
    "chosen": "Mira lives in Tarn.",
    "rejected": "Mira may live in Rome.",
}


@pytest.fixture
def tiny():
    from support.tiny_llama import byte_tokenizer, random_llama

    tokenizer = byte_tokenizer()
    return random_llama(tokenizer, 0), tokenizer


def prepared(trainer, config, tiny, row, folder):
    """The row as `trainer` leaves it after its own preparation."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    model, tokenizer = tiny
    args = getattr(trl, config)(
        output_dir=str(folder), report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False
    )
    made = getattr(trl, trainer)(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([row]),
        processing_class=tokenizer,
        peft_config=LoraConfig(target_modules="all-linear"),
    )
    return made.train_dataset[0]


@pytest.mark.parametrize("chat", [True, False])
def test_sft(tiny, tmp_path, chat):
    given = {
        "prompt": user_turn(ROW["prompt"], chat),
        "completion": assistant_turn(ROW["completion"], chat),
    }
    theirs = prepared("SFTTrainer", "SFTConfig", tiny, given, tmp_path)
    row = evaluation_row(ROW, Reading(chat))
    (ours,) = encode_completions(tiny[1], row.prompt, (row.expected,), row.context)
    assert list(ours.ids) == theirs["input_ids"]
    assert [-100] * ours.start + list(ours.ids[ours.start :]) == theirs["labels"]


@pytest.mark.parametrize("chat", [True, False])
def test_dpo(tiny, tmp_path, chat):
    sides = {name: assistant_turn(ROW[name], chat) for name in ("chosen", "rejected")}
    given = {"prompt": user_turn(ROW["prompt"], chat), **sides}
    theirs = prepared("DPOTrainer", "DPOConfig", tiny, given, tmp_path)
    row = evaluation_row(ROW, Reading(chat))
    chosen, rejected = encode_completions(
        tiny[1], row.pair.prompt, (row.pair.chosen, row.pair.rejected), row.context
    )
    for ours, name in ((chosen, "chosen_ids"), (rejected, "rejected_ids")):
        assert list(ours.ids) == theirs["prompt_ids"] + theirs[name]
        assert ours.start == len(theirs["prompt_ids"])
