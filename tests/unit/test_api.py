"""The Python API on recipes: what needs no training."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy

import pytest
from support.small import RECIPE, ROOT

import ptspec
from ptspec.diagnostics import InputError, Severity


def broken() -> dict:
    recipe = deepcopy(RECIPE)
    recipe["stages"][1]["config"]["learning_rte"] = 1e-4
    return recipe


def test_a_sound_recipe_from_a_file_and_from_a_dict(tmp_path):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(RECIPE))
    for given in (file, str(file), RECIPE):
        assert [one for one in ptspec.load(given).validate() if one.severity is Severity.ERROR] == []


def test_a_dict_tells_its_faults_with_their_places():
    (fault,) = ptspec.load(broken()).validate()
    assert (fault.code, fault.pointer) == ("unknown-key", "/stages/1/config/learning_rte")
    assert str(fault).startswith(
        f"<recipe>:{fault.location.line}:{fault.location.column}: error[unknown-key]: "
    )
    assert '"learning_rte"' in fault.location.text
    assert "learning_rate" in str(fault), "the line says what to do"


def test_a_file_that_is_no_recipe_is_a_diagnostic(tmp_path):
    (fault,) = ptspec.load(tmp_path / "nothing.json").validate()
    assert fault.code == "no-such-file"


@pytest.mark.parametrize(
    ("value", "code"),
    [({"stages.dpo.config.beta": 0.3}, None), ({"stages.dpo.config.beta": "much"}, "wrong-type")],
)
def test_overrides_are_those_of_the_command(value, code):
    found = ptspec.load(RECIPE, overrides=value).validate()
    assert [one.code for one in found if one.severity is Severity.ERROR] == ([code] if code else [])


def test_a_faulty_recipe_is_not_begun(tmp_path):
    with pytest.raises(InputError, match="learning_rte"):
        ptspec.load(broken()).run(output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stage_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(InputError, match="nope"):
        ptspec.load(RECIPE).run(output=tmp_path / "run", until="nope")
    assert not (tmp_path / "run").exists()


def test_there_is_no_run_in_an_empty_folder(tmp_path):
    with pytest.raises(InputError):
        ptspec.open_run(tmp_path)


def test_importing_and_validating_loads_no_torch_and_reads_no_file_before_it_is_asked():
    code = (
        "import sys, ptspec; before = [n for n in sys.modules if n.startswith('ptspec')]; "
        "recipe = ptspec.load(sys.argv[1]); recipe.validate(); "
        "print(before, [n for n in ('torch', 'transformers', 'datasets', 'rich') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(ROOT / "recipes/sft_dpo.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['ptspec'] []"


def test_a_name_that_is_not_exported_is_none():
    assert not hasattr(ptspec, "train")
    assert all(hasattr(ptspec, name) for name in ptspec.__all__)
