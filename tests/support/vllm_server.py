"""A real `vllm serve` for tests: PT_VLLM names the executable (benchmarks/vllm_env.py installs one)."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ptspec.diagnostics import PtError
from ptspec.generation_server.client import GenerationServer

EXECUTABLE = os.environ.get("PT_VLLM")
needs_vllm = pytest.mark.skipif(
    EXECUTABLE is None,
    reason="NO vLLM: PT_VLLM names no `vllm` executable; `python benchmarks/vllm_env.py FOLDER` installs "
    "one, and PT_VLLM=FOLDER/bin/vllm runs these tests",
)
SECONDS = 900
"""A start takes half a minute on two idle cores, many on busy ones."""


RUNNING = os.environ.get("PT_VLLM_URL")
"""A server of the shipped base that runs already, with the options below: saves a start."""
BASE = Path(__file__).parents[2] / "data/base_model"


@dataclass
class Served:
    url: str
    process: subprocess.Popen
    log: Path

    def kill(self):
        """Ends the server and its engine as a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def vllm_serving(model, log, *options, lora=True, environment=None):
    """A server of the model in the folder `model`, in float32, over adapters up to rank 64."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "OMP_NUM_THREADS": "1",
        "KMP_BLOCKTIME": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # not all servers on one core
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        **(environment or {}),
    }
    # vLLM takes an environment of its own, not the worktree under test.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    adapters = ("--enable-lora", "--max-lora-rank", "64", "--max-loras", "4") if lora else ()
    command = [
        *(EXECUTABLE, "serve", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "64", *adapters, *options),
    ]
    with Path(log).open("wb") as file:
        process = subprocess.Popen(
            command, env=inherited | own, stdout=file, stderr=file, start_new_session=True
        )
    served = Served(f"http://127.0.0.1:{port}", process, Path(log))
    try:
        _wait(served)
        yield served
    finally:
        served.kill()


def _wait(served):
    client = GenerationServer(served.url, at="/compute/vllm")
    for _ in range(SECONDS):
        if served.process.poll() is not None:
            break
        with contextlib.suppress(PtError):
            client.must_be_up()
            return
        time.sleep(1)
    pytest.fail(f"vllm serve did not start:\n{served.log.read_text('utf-8', 'replace')[-4000:]}")
