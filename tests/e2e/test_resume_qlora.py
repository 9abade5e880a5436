"""An adapter over 4-bit weights goes on in the numbers that it began in: TRL trains it in bfloat16."""

import os
import signal

import pytest
from support.small import one_stage, run_here, write_recipe

from ptspec.events import StageStep

pytestmark = pytest.mark.slow


def test_a_stopped_stage_over_4_bit_weights_comes_to_the_same_bytes(tmp_path):
    def quantised(recipe):
        one_stage(recipe, max_steps=5)
        recipe["adapter"]["use_qlora"] = True

    def stop(event):
        if isinstance(event, StageStep) and event.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = write_recipe(tmp_path, quantised)
    undisturbed = run_here(recipe, tmp_path / "undisturbed").weights
    assert run_here(recipe, tmp_path / "stopped", stop).error is not None
    ran = run_here(recipe, tmp_path / "stopped")
    assert ran.resumed == {"sft": 3}
    assert ran.weights == undisturbed
