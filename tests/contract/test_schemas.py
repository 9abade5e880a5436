"""The shipped schemas: current, valid, closed under reference, and one a method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ptspec import methods
from ptspec.methods.merge import NAME as MERGE
from ptspec.methods.owned import OWNED
from ptspec.schemagen import generate
from ptspec.schemagen.annotations import LARGEST
from ptspec.shipped import bundle

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "schemas"
FILES = sorted(SCHEMAS.rglob("*.json"))


def stems(folder: str, suffix: str) -> set[str]:
    return {path.name.removesuffix(suffix) for path in (ROOT / folder).glob(f"*{suffix}")}


def test_the_generated_schemas_are_current():
    assert generate.stale() == [], "run python -m ptspec.schemagen"


def test_every_method_has_all_its_pieces():
    known = set(methods.METHODS)
    modules = stems("ptspec/methods", ".py") - {"__init__", "types", "settings", "metrics", "owned", "merge"}
    used = {
        stage["method"]
        for path in (ROOT / "recipes").glob("*.json")
        for stage in json.loads(path.read_text("utf-8"))["stages"]
    }
    pieces = {
        "ptspec/methods/<m>.py": modules,
        "schemas/methods/<m>.schema.json": stems("schemas/methods", ".schema.json"),
        "schemas/trl/<m>.schema.json": stems("schemas/trl", ".schema.json"),
        "a recipe": used - {MERGE},
    }
    assert {piece: known ^ found for piece, found in pieces.items() if known != found} == {}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_schema_is_a_valid_schema(file):
    Draft202012Validator.check_schema(json.loads(file.read_text("utf-8")))


def integers(value, at=""):
    """Every schema of an integer in a schema file, with its place."""
    if isinstance(value, dict):
        kinds = value.get("type", ())
        if "integer" in ([kinds] if isinstance(kinds, str) else kinds) and "enum" not in value:
            yield at, value
        for key, item in value.items():
            yield from integers(item, f"{at}/{key}")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_integer_has_a_largest_value(file):
    found = list(integers(json.loads(file.read_text("utf-8"))))
    assert [at for at, schema in found if schema.get("maximum", 2**53) > LARGEST] == []
    assert found or file.parent.name not in ("trl", "peft")


def references(value, file):
    if isinstance(value, dict):
        if "$ref" in value:
            yield file, value["$ref"]
        for item in value.values():
            yield from references(item, file)
    elif isinstance(value, list):
        for item in value:
            yield from references(item, file)


def test_every_reference_leads_somewhere():
    used = [f for f in FILES if f.parent.name != "methods" or f.name.split(".")[0] in methods.METHODS]
    found = [ref for file in used for ref in references(json.loads(file.read_text("utf-8")), file)]
    assert found
    for file, reference in found:
        path, _, pointer = reference.partition("#")
        target = json.loads((file.parent / path if path else file).resolve().read_text("utf-8"))
        for step in pointer.split("/")[1:]:
            target = target[step]


@pytest.mark.parametrize("name", methods.METHODS)
def test_ranges_are_about_fields_that_exist(name):
    fields = json.loads((SCHEMAS / f"trl/{name}.schema.json").read_text("utf-8"))["properties"]
    ranges = json.loads((SCHEMAS / f"methods/{name}.schema.json").read_text("utf-8"))["properties"]
    assert set(ranges) - set(fields) == set()


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_fields_a_guide_names_and_a_starter_sets_exist(name):
    fields = json.loads((SCHEMAS / f"trl/{name}.schema.json").read_text("utf-8"))["properties"]
    method = methods.get(name)
    assert {*method.guide.fields, *method.starter.config} - set(fields) == set()


def test_ranges_of_all_trainers_are_about_fields_that_exist():
    shared = json.loads((SCHEMAS / "trainer.schema.json").read_text("utf-8"))["properties"]
    known = {
        field
        for name in methods.METHODS
        for field in json.loads((SCHEMAS / f"trl/{name}.schema.json").read_text("utf-8"))["properties"]
    }
    assert set(shared) - known == set()


def test_defaults_lie_within_the_ranges():
    """TRL's own defaults pass the check, so that writing one down is never a fault."""
    from ptspec.recipe.document import parse
    from ptspec.recipe.schema import check

    for name in methods.METHODS:
        fields = json.loads((SCHEMAS / f"trl/{name}.schema.json").read_text("utf-8"))["properties"]
        config = {
            key: field["default"]
            for key, field in fields.items()
            if isinstance(field, dict) and "default" in field
        }
        stage = {"name": "x", "method": name, "data": "d", "config": config}
        recipe = {"model": "m", "data": {"d": {"path": "p"}}, "stages": [stage]}
        assert [(d.pointer, d.message) for d in check(parse(json.dumps(recipe), "f"))] == []


def test_reserved_fields_are_no_fields_of_a_schema():
    for file in (SCHEMAS / "trl").glob("*.json"):
        schema = json.loads(file.read_text("utf-8"))
        assert set(schema["properties"]) & set(OWNED) == set()
        assert "output_dir" in schema["x-owned"]


def test_the_schema_in_one_piece_judges_as_the_files_do():
    whole = bundle()
    Draft202012Validator.check_schema(whole)
    validator = Draft202012Validator(whole)
    recipe = json.loads((ROOT / "recipes/sft_dpo.json").read_text("utf-8"))
    assert list(validator.iter_errors(recipe)) == []
    recipe["stages"][1]["config"]["beta"] = -1
    recipe["adapter"]["quantization"] = {"load_in_4bits": True}
    assert len(list(validator.iter_errors(recipe))) == 2
