"""The wheel carries what the program needs: schemas, the starter recipe, data and base model."""

import os
import subprocess
import sys

import pytest
from support.small import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """sdist → wheel → unpacked where nothing of the checkout is on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return target


def run(installed, code, cwd):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_recipe_is_validated_from_the_wheel_alone(installed, tmp_path):
    shipped = installed / "ptspec" / "_shipped"
    code = f"""
import ptspec, ptspec.cli
assert ptspec.__file__.startswith({str(installed)!r}), ptspec.__file__
ptspec.cli.main(["validate", {str(shipped / "recipes" / "sft_dpo.json")!r}])
"""
    assert "valid" in run(installed, code, cwd=shipped)


def test_the_wheel_holds_no_tests_and_no_outputs(installed):
    names = {path.name for path in installed.iterdir()}
    assert not names & {"tests", "outputs", "benchmarks"}
    assert (installed / "ptspec" / "_shipped" / "data" / "base_model" / "model.safetensors").is_file()
