"""Two processes that share a stream: no row twice, those of one process in each step, also after a stop, by
as many processes or by another number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.forked import Forked
from support.small import ROOT, environment, two_ranks

MODEL = ROOT / "data/base_model"
STEPS, ACCUMULATION, BATCH = 6, 2, 2
"""Of two processes; one takes twice as many passes."""


def launch(*arguments: object) -> None:
    for process in two_ranks(*arguments, main=train):
        assert process.wait(400) == 0, process.told


def launch_alone(*arguments: object) -> None:
    process = Forked(*arguments, cwd=ROOT, environment=environment(), main=train)
    assert process.wait(400) == 0, process.told


def learned(folder: Path, *ranks: int) -> list[list[list[str]]]:
    """Of each process the texts of each pass."""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in ranks]


def by_step(passes: list[list[list[str]]]) -> list[list[str]]:
    """The texts of each step, of one process or of two."""
    each = 2 * ACCUMULATION // len(passes)
    steps = range(0, len(passes[0]), each)
    return [sorted(text for of in passes for one in of[at : at + each] for text in one) for at in steps]


@pytest.mark.slow
def test_two_processes_share_a_stream_and_go_on_with_it(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{number}", "completion": f"a{number}"} for number in range(37)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    launch(tmp_path, "whole", STEPS)
    first, second = learned(tmp_path / "whole", 0, 1)
    expected = [row["completion"][0]["content"] for row in islice(iter(rows_of(tmp_path)), 48)]
    at_once = 2 * BATCH
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one + other == expected[number * at_once : (number + 1) * at_once]
    assert len(first) == STEPS * ACCUMULATION
    launch(tmp_path, "cut", STEPS // 2)
    shutil.copytree(tmp_path / "cut", tmp_path / "fewer")
    launch(tmp_path, "cut", STEPS)
    assert learned(tmp_path / "cut", 0, 1) == [one[3 * ACCUMULATION :] for one in (first, second)]
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]
    launch_alone(tmp_path, "fewer", STEPS)
    steps = by_step([first, second])
    assert by_step(learned(tmp_path / "fewer", 0)) == steps[3:]
    launch_alone(tmp_path, "more", STEPS // 2)
    launch(tmp_path, "more", STEPS)
    assert by_step(learned(tmp_path / "more", 0, 1)) == steps[3:]
    whole = load_file(tmp_path / "whole/model.safetensors")
    for run in ("fewer", "more"):
        other = load_file(tmp_path / run / "model.safetensors")
        assert all(torch.allclose(other[name], whole[name], atol=1e-6) for name in whole), run


def rows_of(folder: Path):
    from ptspec.data.checks.row_checks import Use
    from ptspec.data.dataset import Loading
    from ptspec.data.stream.dataset import Share, stream
    from ptspec.methods.types import Rows
    from ptspec.recipe.sources import Source

    source = Source("rows", (folder / "rows.jsonl",), streaming=True, shuffle=True)
    kind = Rows.PROMPT_COMPLETION
    return stream({"rows": source}, "rows", kind, 1, Loading(Use("sft", kind)), Share(batch=BATCH))


def train(arguments: Sequence[str]) -> None:
    folder, run, until = Path(arguments[0]), arguments[1], int(arguments[2])
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from ptspec.data.stream.dataset import StreamWatch
    from ptspec.training.checkpoint_callback import CheckpointCallback
    from ptspec.training.checkpoints import last_sound
    from ptspec.training.stream_place import StreamPlace

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = control.should_save = state.global_step >= until

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    seen: list[list[str]] = []

    class Recording(SFTTrainer):
        def training_step(self, model, inputs, *rest):
            texts = tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
            seen.append([text[text.rindex("a") :].strip() for text in texts])
            return super().training_step(model, inputs, *rest)

    checkpoints = folder / run / "checkpoints"
    args = SFTConfig(
        output_dir=str(checkpoints),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=2 * ACCUMULATION // int(os.environ.get("WORLD_SIZE", "1")),
        max_steps=STEPS,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=1,
    )
    trainer = Recording(
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        args=args,
        train_dataset=rows_of(folder),
        processing_class=tokenizer,
    )
    resume, _ = last_sound(checkpoints) if checkpoints.is_dir() else (None, [])
    saving = CheckpointCallback(
        trainer, checkpoints, resume, place=StreamPlace(trainer, StreamWatch(), resume)
    )
    for callback in (Stop(), saving):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    saving.close()
    trainer.save_model(str(folder / run))
    (folder / run / f"{trainer.accelerator.process_index}.json").write_text(json.dumps(seen))
