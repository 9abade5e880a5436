"""The virtual environments of the peers, made in one command, with the torch of the running interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from peers.chain import Peer

TORCH = "torch==2.13.0"
PARTS = ("torch", "torchgen", "functorch", "torch-*.dist-info")
PINNED = Path(__file__).parent / "requirements"


class Environments:
    """Those below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def programs(self, peer: Peer) -> Path:
        """Its `bin`. Not resolved: a virtual environment's python is a link."""
        if peer.environment is None:
            return Path(sys.executable).parent
        return self._folder / f"peer_{peer.environment}/bin"

    def version(self, peer: Peer) -> str | None:
        """The installed version, None where it is not installed."""
        python = self.programs(peer) / "python"
        if not python.exists():
            return None
        asked = f"from importlib.metadata import version; print(version({peer.package!r}))"
        done = subprocess.run([python, "-c", asked], capture_output=True, text=True)
        return done.stdout.strip() or None

    def install(self, peer: Peer) -> None:
        """What requirements/NAME.txt pins and nothing else, or what the peer asks for beside this torch."""
        folder = self.programs(peer).parent
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        borrow_torch(folder)
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--no-cache-dir"]
        pinned = PINNED / f"{peer.environment}.txt"
        if pinned.exists():
            subprocess.run([*pip, "--no-deps", "--requirement", str(pinned)], check=True)
        else:
            constraint = folder / "constraints.txt"
            constraint.write_text(TORCH + "\n", encoding="utf-8")
            held = {**os.environ, "PIP_CONSTRAINT": str(constraint)}
            subprocess.run([*pip, *peer.requirements], check=True, env=held)
        if peer.alone:
            subprocess.run([*pip, "--no-deps", *peer.alone], check=True)
        for pattern in peer.removed:
            for found in folder.glob(f"lib/python*/site-packages/{pattern}"):
                shutil.rmtree(found)


def borrow_torch(folder: Path) -> None:
    """Lets the environment in `folder` import this interpreter's torch, and pip see it, but nothing else."""
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for pattern in PARTS:
        for found in Path(sysconfig.get_path("purelib")).glob(pattern):
            (borrowed / found.name).symlink_to(found)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "zz_borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
