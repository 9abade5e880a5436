"""What `pt` imports for a run, once and for all processes of `forked`."""

import gc

gc.disable()

from ptspec.library_output import quiet_environment

quiet_environment()

import matplotlib.pyplot  # noqa: F401, E402
import trl.trainer.dpo_trainer  # noqa: F401, E402
import trl.trainer.grpo_trainer  # noqa: F401, E402
import trl.trainer.sft_trainer  # noqa: F401, E402

import ptspec.cli  # noqa: F401, E402
import ptspec.evaluation.request  # noqa: F401, E402
import ptspec.run.interpreter  # noqa: F401, E402

gc.freeze()
gc.enable()
