"""What `pt` imports for a run, once and for all processes of `forked`."""

import gc
import importlib

from ptspec.library_output import quiet_environment

MODULES = (
    *("matplotlib.pyplot", "ptspec.cli", "ptspec.evaluation.request", "ptspec.run.interpreter"),
    *("trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer"),
)

gc.disable()
quiet_environment()
for module in MODULES:
    importlib.import_module(module)
gc.freeze()
gc.enable()
