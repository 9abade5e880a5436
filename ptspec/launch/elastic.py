"""`python -m ptspec.launch.elastic JOB PROCESSES`: start a job's workers with torch's elastic launcher.

It ends all workers as soon as one has died. Its stdin and stdout are those of rank 0; if workers died, its
last line on stdout says which and how.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ptspec.diagnostics import Exit
from ptspec.launch.protocol import Died, line

SHUTDOWN = 20
"""Seconds that workers may take to end after one has died."""


def main(arguments: Sequence[str]) -> int:
    """Start the workers and return an exit code of `ptspec.diagnostics.Exit`."""
    job, processes = arguments
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(processes),
        run_id="ptspec",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=SHUTDOWN,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "ptspec.worker", job, "--controlled")
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        sys.stdout.flush()
        os.write(1, line(Died(tuple(codes.items()))))
        return Exit.FAILED
    except SignalException:
        return Exit.INTERRUPTED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
