"""`pip install .` takes versions that were tested: the README's first command meets no newer library."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
ROOT = Path(__file__).parent.parent.parent
REQUIRED = [
    Requirement(one)
    for one in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
]
TESTED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line
)
# Their minor releases change what is called here: transformers 5.24 renamed past_key_values.
REACHED_INTO = ("transformers", "trl", "peft", "bitsandbytes")


@pytest.mark.parametrize("name", REACHED_INTO)
def test_no_minor_release_after_the_tested_one_is_allowed(name):
    (one,) = [one for one in REQUIRED if one.name == name]
    tested = Version(TESTED[name])
    assert one.specifier.contains(tested)
    assert not one.specifier.contains(f"{tested.major}.{tested.minor + 1}.0")
    assert not one.specifier.contains(f"{tested.major + 1}.0.0")


def test_every_tested_version_is_allowed():
    by_name = {name.lower().replace("_", "-"): version for name, version in TESTED.items()}
    for one in REQUIRED:
        assert one.specifier.contains(by_name[one.name.lower().replace("_", "-")]), one
