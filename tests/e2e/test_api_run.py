"""The Python API does what the commands do, and leaves the program around it alone."""

from __future__ import annotations

import logging
import os
import signal
import threading
from copy import deepcopy

import pytest
import torch
from support.small import RECIPE, WEIGHTS, pt

import ptspec
from ptspec.diagnostics import Interrupted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The small recipe as a dict, run in a thread, as a notebook's kernel or a server would; and what of this
    process was otherwise afterwards."""
    before = surroundings()
    heard, runs = [], []
    folder = tmp_path_factory.mktemp("api") / "run"

    def work():
        runs.append(ptspec.load(RECIPE).run(on_event=heard.append, output=folder))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (run,) = runs
    return run, heard, before


OF_OTHERS = ("PYTEST_", "TORCHINDUCTOR_")
"""Variables that pytest and torch set by themselves."""


def surroundings() -> dict:
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": {k: v for k, v in os.environ.items() if not k.startswith(OF_OTHERS)},
        "handlers": logging.getLogger().handlers[:],
    }


def test_it_is_the_run_that_pt_run_makes(ran, small_run):
    run, heard, _ = ran
    for stage in ("sft", "dpo"):
        assert (run.folder / stage / WEIGHTS).read_bytes() == (
            small_run.output / stage / WEIGHTS
        ).read_bytes()
    assert {"RunStarted", "StageTrained", "RunFinished"} <= {type(event).__name__ for event in heard}
    assert (run.folder / "report.html").is_file()


def test_signals_environment_and_output_are_left_alone(ran):
    run, _, before = ran
    assert surroundings() == before
    assert not (run.folder / "run.log").exists(), "nothing was captured"


def test_stages_have_figures_and_open_as_models(ran):
    run, _, _ = ran
    assert list(run.stages) == ["base", "sft", "dpo"]
    dpo = run.stages["dpo"]
    assert dpo.metrics["loss"].value == dpo.measurement.metrics["loss"].value
    assert dpo.folder == run.folder / "dpo"
    model, tokenizer = dpo.policy()
    ids = tokenizer("The river", return_tensors="pt").input_ids
    with torch.no_grad():
        adapted = model(ids).logits
        with model.disable_adapter():
            bare = model(ids).logits
    assert not torch.equal(adapted, bare)
    base = run.stages["base"].policy().model
    with torch.no_grad():
        assert torch.allclose(base(ids).logits, bare, atol=1e-5)


def test_a_run_shows_itself(ran):
    run, _, _ = ran
    lines = str(run).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["base", "sft", "dpo"]
    assert run._repr_html_().startswith("<pre>")
    assert str(ptspec.open_run(run.folder)) == str(run)


def test_a_comparison_is_that_of_the_command(ran):
    run, _, _ = ran
    found = ptspec.compare(run.folder / "sft", run.folder / "dpo")
    told = pt("eval", "--compare", run.folder / "sft", run.folder / "dpo")
    assert told.code == 0
    assert found.comparison.names == ("sft", "dpo")
    assert str(found).splitlines()[0] == told.stdout.splitlines()[0]
    assert found._repr_html_().startswith("<pre>")


def test_a_run_that_is_over_its_time_goes_on_later(tmp_path, small_run):
    recipe = deepcopy(RECIPE)
    with pytest.raises(Interrupted):
        ptspec.load(recipe).run(output=tmp_path / "run", max_seconds=0)
    run = ptspec.load(recipe).run(output=tmp_path / "run", until="sft")
    assert (run.folder / "sft" / WEIGHTS).read_bytes() == (small_run.output / "sft" / WEIGHTS).read_bytes()
    assert "dpo" not in run.stages
