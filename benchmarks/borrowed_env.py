"""Makes an environment that borrows the packages of the one that runs this, torch among them.

    python benchmarks/borrowed_env.py FOLDER

What is installed in it comes before what it borrows. `vllm_env.py`, `versions.py`, `make test-extras` and
`make test-engines` begin with one.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def borrowed(folder: Path, *more: Path) -> tuple[str, Path]:
    """Return the interpreter of a new environment in `folder`, and where its packages go.

    `more` are borrowed folders besides those of this environment.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder.absolute() / "bin/python")
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(where, text=True).strip())
    # A .pth file is read after the environment's own packages: what is installed there comes first.
    paths = [sysconfig.get_path("purelib"), *(str(one.absolute()) for one in more)]
    (packages / "zz_borrowed.pth").write_text("\n".join(paths) + "\n")
    return python, packages


if __name__ == "__main__":
    borrowed(Path(sys.argv[1]))
