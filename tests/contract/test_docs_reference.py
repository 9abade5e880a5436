"""The reference of the user guide, made from the schemas by its build, is whole and is navigated to."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from ptspec.explain.texts import explanations
from ptspec.methods import METHODS

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(SITE))
    try:
        import generated

        return generated.pages(ROOT)
    finally:
        sys.path.remove(str(SITE))


def defined(schema, found):
    """Names of properties that the schema gives a type or values, wherever they stand in it."""
    if isinstance(schema, dict):
        for name, one in (schema.get("properties") or {}).items():
            if isinstance(one, dict) and one.keys() & {"type", "enum"} and one.get("not") != {}:
                found.add(name)
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            defined(one, found)
    return found


def rows(page):
    """The first cell of each row of each table in `page`."""
    return {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}


def read(path):
    return json.loads((ROOT / "schemas" / path).read_text("utf-8"))


@pytest.mark.parametrize(
    "path",
    [
        "recipe.schema.json",
        "rewards.schema.json",
        "judges.schema.json",
        "deepspeed.schema.json",
        "peft/lora.schema.json",
        "bnb/bitsandbytes.schema.json",
    ],
)
def test_every_key_of_the_recipe_is_there(pages, path):
    missing = defined(read(path), set()) - rows(pages["reference/recipe.md"])
    assert not missing


@pytest.mark.parametrize("method", METHODS)
def test_every_field_of_a_method_is_there_with_its_description_and_default(pages, method):
    page = pages[f"reference/{method}.md"].partition("\n## Fields of")[2]
    fields = read(f"trl/{method}.schema.json")["properties"]
    for name, schema in fields.items():
        if name == "$comment":
            continue
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        if "default" in schema:
            assert f"`{json.dumps(schema['default'], ensure_ascii=False)}`" in row
        words = schema.get("description", "").split("`")[0].split()[:3]
        assert all(word.replace("_", r"\_") in row or not word.isalpha() for word in words), row
    assert rows(page) >= read(f"trl/{method}.schema.json")["x-owned"].keys()


MERGED = ("when", "how", "for", "against", "needs", "a stage", "the equation")
TOLD = (*MERGED, "a row", "healthy", "sick", "fields people change", "learning rates")


@pytest.mark.parametrize("method", [*METHODS, "merge"])
def test_the_page_of_a_method_tells_all_that_one_chooses_by(pages, method):
    page = pages[f"reference/{method}.md"]
    lead = {
        one.strip(".,:*# ").lower()
        for one in re.findall(r"^(?:\*\*.*?\*\*|## .*?(?:,|$)|A \w+[:,])", page, re.M)
    }
    assert set(TOLD if method != "merge" else MERGED) <= lead
    equation = page.split("## The equation")[1].split("\n## ")[0]
    assert re.search(r"arXiv \d{4}\.\d{5}", equation) and re.search("[Σπσθ]", equation)
    if method != "merge":
        (picture,) = re.findall(r"!\[[^\]]+\]\(\.\./(images/curves_\w+\.png)\)", page)
        assert (ROOT / "docs" / picture).is_file()


def test_every_error_code_has_its_heading_and_its_text(pages):
    page = pages["troubleshooting.md"]
    for code, one in explanations().items():
        section = page.split(f"\n### {code}\n", 1)[1].split("\n#", 1)[0]
        assert section.split() == one.text.split(), code


def test_the_navigation_names_every_page_that_is_made(pages):
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [address for address in pages if address not in navigation] == []


def test_no_object_stands_twice(pages):
    headings = [line for line in pages["reference/recipe.md"].splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))
