"""What `pt` imports for a run and reads of the libraries' source, once and for all processes of `forked`."""

import gc
import importlib
import threading
from pathlib import Path

from ptspec.library_output import quiet_environment

MODULES = (
    *("matplotlib.pyplot", "pydantic", "ptspec.cli", "ptspec.report.terminal", "ptspec.run.session"),
    *("ptspec.checks.preflight", "ptspec.evaluation.request", "ptspec.run.interpreter"),
    *("ptspec.report.html.write", "transformers.models.llama.modeling_llama", "peft.tuners.lora"),
    *("trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer"),
)

gc.disable()
quiet_environment()
for module in MODULES:
    importlib.import_module(module)
_root = Path(__file__).parents[2]
importlib.import_module("ptspec.checks.preflight").preflight(_root / "recipes/sft_dpo.json", (), None)
assert threading.active_count() == 1, "a fork has one thread"
gc.collect()
gc.freeze()
gc.enable()
