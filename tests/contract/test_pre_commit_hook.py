"""What .pre-commit-hooks.yaml promises to other repositories: an entry that runs, on the files it is for."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def hook():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    return hook


@pytest.fixture
def run(hook):
    """The hook's entry, from the environment that `language: python` installs it into, on some files."""

    def run(*files: str, cwd: Path = ROOT) -> tuple[int, str]:
        program, *arguments = shlex.split(hook["entry"])
        installed = Path(sys.executable).parent / program
        done = subprocess.run([installed, *arguments, *files], cwd=cwd, capture_output=True, text=True)
        return done.returncode, done.stderr

    return run


def test_the_entry_is_a_program_that_the_package_installs(hook):
    scripts = re.search(r"\[project\.scripts\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert f"{shlex.split(hook['entry'])[0]} =" in scripts[1]
    assert hook["language"] == "python"


def test_it_passes_good_recipes_and_stops_at_a_faulty_one(run):
    good = ["recipes/sft.json", "recipes/sft_dpo.json"]
    assert run(*good)[0] == 0
    code, told = run(*good, "tests/bad_recipes/unknown_key/recipe.json")
    assert code == 2
    assert 'did you mean "adapter"?' in told


@pytest.mark.parametrize(
    ("path", "matched"),
    [
        ("recipes/sft.json", True),
        ("experiments/recipes/a.json", True),
        ("data/rows.json", False),
        ("recipes/data/rows.json", False),
        ("recipes/readme.md", False),
    ],
)
def test_it_is_for_the_recipes_of_a_repository(hook, path, matched):
    assert bool(re.search(hook["files"], path)) is matched
