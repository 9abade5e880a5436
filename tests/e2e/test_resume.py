"""A stage that is stopped after any step and begun again trains the same bytes: also from the middle of a
generation buffer, in a later epoch, and after a step that failed."""

import contextlib
from dataclasses import replace

import pytest
import torch
from support.small import ROOT

from ptspec import methods
from ptspec.data.dataset import load
from ptspec.diagnostics import Interrupted, StageError
from ptspec.events import StageStep
from ptspec.model import probes
from ptspec.model.device import find_device
from ptspec.model.handover import prepare
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import AdapterSpec, ModelSpec, Stage, TrackingSpec
from ptspec.recipe.sources import Source
from ptspec.rewards.builtin import builtin
from ptspec.training import resume_online
from ptspec.training import train as training
from ptspec.training.checkpoint_callback import CheckpointCallback
from ptspec.training.data_order import catch_up, rows_of_step
from ptspec.training.job import Job, Signals
from ptspec.training.stop_request import StopRequest
from ptspec.training.tracking import Watched
from ptspec.training.train import train

pytestmark = pytest.mark.slow

LORA = AdapterSpec(True, lora={"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]})
PROMPTS = 4
"""Two a generation, which lasts four steps: an epoch is eight steps."""
ONLINE = {
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "steps_per_generation": 2,
    "num_iterations": 2,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "max_steps": 24,
    "save_steps": 100,
}


OFFLINE = {name: ONLINE[name] for name in ("learning_rate", "lr_scheduler_type", "save_steps")}


@pytest.fixture(scope="module")
def bases():
    return Bases(ModelSpec(str(ROOT / "data/base_model"), local=True), find_device())


def job_in(folder, bases, method, signals, **config):
    stage = Stage(
        name=method,
        method=methods.get(method),
        parent="base",
        handover=None,
        data="train",
        adapter=LORA,
        config={**(ONLINE | {"beta": 0.05} if signals.rewards else OFFLINE), **config},
    )
    source = {
        "train": Source("train", (ROOT / "data/train.jsonl",), limit=PROMPTS if signals.rewards else 10)
    }
    dataset = load(source, "train", stage.method.rows, seed=1)
    model, base = bases.open(LORA, None)
    return Job(
        stage=stage,
        base=base,
        policy=prepare(base, None, stage, seed=1),
        dataset=dataset,
        folder=folder,
        device=find_device(),
        precision=None,
        watched=Watched(TrackingSpec(), "x", method, folder),
        seed=1,
        reference=None,
        reason=None,
        handed_over=probes.measure(model, probes.sequences(base.tokenizer, dataset)),
        signals=signals,
    )


class At:
    """Stops a training after some step, as a signal would; hears its losses."""

    def __init__(self, step=None):
        self.step = step
        self.stop_request = StopRequest()
        self.losses = {}

    def __call__(self, event):
        if isinstance(event, StageStep):
            self.losses[event.step] = event.metrics.get("loss")
            if event.step == self.step:
                self.stop_request.by_signal = "SIGTERM was received"


def adapter(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


LENGTH = Signals((builtin("length", {"target": 5}),), (1.0,))
METHODS = {"grpo": {}, "rloo": {}, "nash_md": {"opponent": "ema", "num_opponents": 2, "probe_steps": 0}}


@pytest.fixture(scope="module", params=METHODS)
def whole(request, bases, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    heard = At()
    train(job_in(folder, bases, request.param, LENGTH, **METHODS[request.param]), heard, heard.stop_request)
    return request.param, adapter(folder), heard.losses


@pytest.mark.parametrize("step", [5, 8, 18], ids=["mid-buffer", "next epoch", "mid-buffer, later epoch"])
def test_stopped_and_begun_again(whole, bases, tmp_path, step):
    method, expected, losses = whole
    first, second = At(step - 1), At()
    with pytest.raises(Interrupted):
        train(job_in(tmp_path, bases, method, LENGTH, **METHODS[method]), first, first.stop_request)
    assert (tmp_path / "checkpoints" / f"checkpoint-{step}" / "sealed.json").is_file()
    train(job_in(tmp_path, bases, method, LENGTH, **METHODS[method]), second, second.stop_request)
    assert first.losses | second.losses == losses
    assert min(second.losses) == step + 1
    assert adapter(tmp_path) == expected


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_rows_keep_their_order_in_a_later_epoch(bases, tmp_path, strategy):
    config = {"train_sampling_strategy": strategy, "per_device_train_batch_size": 2, "max_steps": 9}
    runs = [(tmp_path / "whole", [None]), (tmp_path / "stopped", [6, None])]
    for folder, stops in runs:
        for stop in stops:
            heard = At(stop)
            with contextlib.suppress(Interrupted):
                train(job_in(folder, bases, "sft", Signals(), **config), heard, heard.stop_request)
    assert adapter(tmp_path / "stopped") == adapter(tmp_path / "whole")


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("sft", {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}),
        ("sft", {"per_device_train_batch_size": 2, "train_sampling_strategy": "group_by_length"}),
        ("grpo", {}),
    ],
)
def test_the_rows_of_a_step_are_known_afterwards(bases, tmp_path, method, config):
    """Each batch that comes out of the data loader, against the rows that are named."""
    job = job_in(tmp_path, bases, method, LENGTH if method == "grpo" else Signals(), **config)
    trainer = training._trainer(job, tmp_path)
    saving = CheckpointCallback(trainer, tmp_path, None)
    column = "prompt" if method == "grpo" else "input_ids"
    rows = {str(row): number for number, row in enumerate(trainer.train_dataset[column])}
    taken, accumulated = [], trainer.args.gradient_accumulation_steps
    for epoch in range(3):
        loader = trainer.get_train_dataloader()
        trainer.state.epoch = float(epoch)
        saving.on_epoch_begin(trainer.args, trainer.state, trainer.control, train_dataloader=loader)
        catch_up(loader, epoch)
        loader.set_epoch(epoch)
        for batch in loader:
            if method == "grpo":
                texts = [one["prompt"] for one in batch]
            else:
                pairs = zip(batch["input_ids"], batch["attention_mask"], strict=True)
                texts = [ids[mask.bool()].tolist() for ids, mask in pairs]
            taken.append({rows[str(text)] for text in texts})
    steps = [taken[first : first + accumulated] for first in range(0, len(taken), accumulated)]
    for done, batches in enumerate(steps):
        assert set(rows_of_step(trainer, done)) == set().union(*batches), done
        assert set(rows_of_step(trainer, done, 0)) == batches[0], done


def test_the_steps_before_one_that_fails_are_saved(bases, tmp_path):
    """A judge that is down for a while: the same bytes as with one that never was."""
    calls = []

    def weak(prompts, completions, **columns):
        calls.append(len(calls))
        if len(calls) == 4:
            raise ConnectionError("the judge is down")
        return [float(len(str(text)) % 7) for text in completions]

    def strong(prompts, completions, **columns):
        return [float(len(str(text)) % 7) for text in completions]

    whole_folder, folder = tmp_path / "whole", tmp_path / "broken"
    heard = At()
    train(job_in(whole_folder, bases, "grpo", Signals((strong,), (1.0,))), heard, heard.stop_request)
    with pytest.raises(StageError) as error:
        train(job_in(folder, bases, "grpo", Signals((weak,), (1.0,))), At(), StopRequest())
    assert "saved up to step 12" in error.value.diagnostics[0].notes[-1]
    train(job_in(folder, bases, "grpo", Signals((weak,), (1.0,))), heard, heard.stop_request)
    assert adapter(folder) == adapter(whole_folder)


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_half_used_completions_are_cut_anew(tmp_path, parts):
    """Eight completions, stored in four parts of two."""
    rows = [
        {"ids": torch.arange(6).view(2, 3) + 6 * part, "total": torch.tensor(8), "none": None}
        for part in range(4)
    ]
    resume_online.store(resume_online.Position(6, rows), tmp_path, 0)
    # As each of several processes on a CPU calls it.
    place = resume_online.stored(tmp_path, 0, torch.device("cpu", 0), parts)
    assert place.step == 6 * parts // 4 and len(place.completions) == parts
    assert torch.equal(torch.cat([part["ids"] for part in place.completions]), torch.arange(24).view(8, 3))
    assert all(part["total"] == 8 and part["none"] is None for part in place.completions)


def test_larger_passes_in_the_middle_of_a_generation_buffer(bases, tmp_path):
    """Four passes of four rows become two of eight: a step learns from the same completions."""
    small = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "max_steps": 6}
    large = {"per_device_train_batch_size": 8, "steps_per_generation": 2, "max_steps": 6}
    first, second, whole = At(2), At(), At()
    with pytest.raises(Interrupted):
        train(job_in(tmp_path, bases, "grpo", LENGTH, **small), first, first.stop_request)
    train(job_in(tmp_path, bases, "grpo", LENGTH, **large), second, second.stop_request)
    train(job_in(tmp_path / "whole", bases, "grpo", LENGTH, **small), whole, whole.stop_request)
    assert min(second.losses) == 4
    assert first.losses | second.losses == pytest.approx(whole.losses, abs=1e-5)


def test_smaller_passes_in_the_middle_of_a_generation_buffer(bases, tmp_path):
    """`auto_find_batch_size` between two steps: what is half used is cut up with the rest."""
    from ptspec.training.batch_halving import write_halvings

    first, second = At(4), At()
    with pytest.raises(Interrupted):
        train(job_in(tmp_path, bases, "grpo", LENGTH), first, first.stop_request)
    write_halvings(tmp_path / "checkpoints", 1)
    trained = train(job_in(tmp_path, bases, "grpo", LENGTH), second, second.stop_request)
    assert trained.config["per_device_train_batch_size"] == 2
    assert trained.config["gradient_accumulation_steps"] == 2
    assert trained.config["steps_per_generation"] == 4
    whole = At()
    job = job_in(tmp_path / "whole", bases, "grpo", LENGTH)
    train(replace(job), whole, whole.stop_request)
    assert second.losses[6] == pytest.approx(whole.losses[6], abs=1e-5)
