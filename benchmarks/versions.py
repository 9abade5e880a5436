"""Runs tests with the oldest and the newest versions of the libraries that pyproject.toml allows.

    python benchmarks/versions.py oldest build/oldest
    python benchmarks/versions.py newest build/newest --tests tests/e2e/test_handover.py

Makes an environment in the folder that borrows the packages of the one that runs this, torch among them, and
installs transformers, TRL, PEFT, datasets and accelerate over them: with `oldest` the lower bound of each,
with `newest` whatever the index has within the range. Then it prints the versions and runs the tests, by
default the quick ones, a run of the first recipe, the hand-over and a resumed run. Exits with pytest's code.
Needs Python 3.11 or newer.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import tomllib
from borrowed_env import borrowed

ROOT = Path(__file__).parent.parent
LIBRARIES = ("transformers", "trl", "peft", "datasets", "accelerate")
TESTS = (
    *("tests/unit", "tests/contract", "tests/property", "tests/published"),
    *(f"tests/e2e/test_{name}.py" for name in ("sft_dpo", "handover", "resume", "chains", "evaluation")),
)


def ranges() -> dict[str, str]:
    """The specifier of each library in pyproject.toml: `transformers` → `>=5.0,<6`."""
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = [re.match(r"([A-Za-z_-]+)(.*)", text) for text in given]
    return {found[1]: found[2] for found in named if found and found[1] in LIBRARIES}


def wanted(which: str) -> list[str]:
    """What pip is asked for."""
    if which == "newest":
        return [f"{name}{specifier}" for name, specifier in ranges().items()]
    bounds = {name: re.search(r">=([0-9.]+)", specifier) for name, specifier in ranges().items()}
    return [f"{name}=={bound[1]}" for name, bound in bounds.items() if bound]


def environment(folder: Path, requirements: list[str]) -> str:
    """The interpreter of an environment with `requirements`, everything else borrowed from this one."""
    python, _ = borrowed(folder, ROOT)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*pip, *requirements], check=True)
    return python


def main() -> int:
    """The exit code of pytest."""
    plain = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    options.add_argument("which", choices=("oldest", "newest"))
    options.add_argument("folder", type=Path)
    options.add_argument("--tests", nargs="+", default=TESTS)
    given = options.parse_args()
    requirements = wanted(given.which)
    print("asked for ", *requirements, flush=True)
    python = environment(given.folder, requirements)
    versions = (
        f"from importlib.metadata import version as v; print(*(f'{{n}}=={{v(n)}}' for n in {LIBRARIES}))"
    )
    subprocess.run([python, "-c", versions], check=True)
    command = [python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *given.tests]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
