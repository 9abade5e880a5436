"""A stage whose rows are streamed: what it learns from, and that it goes on with the very next row."""

import pytest
from support.small import ROOT

from ptspec import methods
from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading
from ptspec.data.stream.dataset import Share, StreamWatch, stream
from ptspec.diagnostics import Interrupted
from ptspec.events import StageStep
from ptspec.model import probes
from ptspec.model.device import find_device
from ptspec.model.handover import prepare
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import AdapterSpec, ModelSpec, Stage, TrackingSpec
from ptspec.recipe.sources import Source
from ptspec.rewards.builtin import builtin
from ptspec.training.job import Job, Signals
from ptspec.training.stop_request import StopRequest
from ptspec.training.tracking import Watched
from ptspec.training.train import train

pytestmark = pytest.mark.slow

LORA = AdapterSpec(
    True, lora={"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
)
STEPS = 11
CONFIG = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "max_steps": STEPS,
    "save_steps": 100,
}
ONLINE = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 4}
CASES = {
    "sft": {},
    "sft, packed": {"packing": True, "max_length": 64},
    "dpo": {"max_length": 60},
    "kto": {},
    "reward": {},
    "grpo": {**ONLINE, "gradient_accumulation_steps": 1, "steps_per_generation": 2, "num_iterations": 1},
    "nash_md": {**ONLINE, "gradient_accumulation_steps": 1, "num_opponents": 2, "probe_steps": 0},
}
"""`max_length` of DPO's drops some of the rows: the place is counted in rows that are left."""


@pytest.fixture(scope="module")
def bases():
    return Bases(ModelSpec(str(ROOT / "data/base_model"), local=True), find_device())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """28 rows, of which a run of 44 reads some twice."""
    lines = (ROOT / "data/train.jsonl").read_text().splitlines(keepends=True)
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    file.write_text("".join(lines[:28]))
    return {"train": Source("train", (file,), streaming=True, shuffle=True)}


def job_in(folder, bases, name, data, watch=None, share=None):
    method = methods.get(name.partition(",")[0])
    signals = Signals((builtin("length", {"target": 5}),), (1.0,)) if method.online else Signals()
    stage = Stage(method.name, method, "base", None, "train", LORA, config={**CONFIG, **CASES[name]})
    loading = Loading(Use(method.name, method.rows))
    share = share or Share(batch=stage.config["per_device_train_batch_size"])
    watch = watch or StreamWatch()
    dataset = stream(data, "train", method.rows, 1, loading, share, watch)
    model, base = bases.open(LORA, None)
    return Job(
        stage=stage,
        base=base,
        policy=prepare(base, None, stage, seed=1),
        dataset=dataset,
        folder=folder,
        device=find_device(),
        precision=None,
        watched=Watched(TrackingSpec(), "x", method.name, folder),
        seed=1,
        reference=None,
        reason=None,
        handed_over=probes.measure(
            model, probes.sequences(base.tokenizer, dataset, prompts_only=method.online)
        ),
        signals=signals,
        watch=watch,
    )


class At:
    """Stops a training after some step, as a signal would; hears its steps."""

    def __init__(self, step=None):
        self.step = step
        self.stop_request = StopRequest()
        self.heard = {}

    def __call__(self, event):
        if isinstance(event, StageStep):
            # TRL counts tokens anew in every trainer, whatever the rows come from.
            timed = ("time", "seconds", "num_tokens")
            self.heard[event.step] = {n: v for n, v in event.metrics.items() if not n.endswith(timed)}
            if event.step == self.step:
                self.stop_request.by_signal = "SIGTERM was received"


def adapter(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_stage_that_is_stopped_goes_on_with_the_very_next_row(bases, data, tmp_path, name):
    """Stopped in its first pass over the rows, and in its second: the same bytes, and the same numbers, as a
    run that is not disturbed."""
    said = []
    whole, again = At(), {}
    train(job_in(tmp_path / "whole", bases, name, data, StreamWatch(said.append)), whole, whole.stop_request)
    for step in (3, 8):
        cut = At(step)
        with pytest.raises(Interrupted):
            train(job_in(tmp_path / "cut", bases, name, data), cut, cut.stop_request)
        again |= cut.heard
    rest = At()
    train(job_in(tmp_path / "cut", bases, name, data), rest, rest.stop_request)
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")
    assert again | rest.heard == whole.heard
    if name in ("sft", "kto"):
        assert any('28 rows of "train" have been read through' in text for text in said)
