"""docs/data.md is true: each example is loaded and validated, each table of keys is whole."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ptspec.checks.preflight import preflight
from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load
from ptspec.methods import METHODS, get
from ptspec.methods.types import Feedback
from ptspec.recipe.effective_config import with_defaults

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "data.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SCHEMA = json.loads((ROOT / "schemas" / "recipe.schema.json").read_text("utf-8"))
MODEL = ROOT / "data" / "base_model"

# Takes every role, tools and calls; marks answers.
TEMPLATE = """{{- bos_token -}}
{%- for tool in tools or [] -%}{{- tool | tojson -}}{%- endfor -%}
{%- for m in messages -%}
{{- '<|' + ('assistant' if m.role == 'assistant' else 'user') + '|>' -}}
{%- generation -%}{{- m.content or '' -}}
{%- for call in m.tool_calls or [] -%}{{- call | tojson -}}{%- endfor -%}
{{- eos_token -}}{%- endgeneration -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """Rows of a file, the keys of their source, and what the trainers of `methods` get of them."""

    methods: tuple[str, ...]
    source: Row
    rows: list[Row]
    made: list[Row]


def values(text: str) -> list[Any]:
    """The JSON values in `text`, one after the other."""
    found, decoder, text = [], json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def example(heading: str, block: str) -> Example:
    given, _, made = block.partition("→")
    keys, rows = re.fullmatch(r'((?:"[^\n]*\n)*)(.*)', given, re.DOTALL).groups()
    trained = values(made)
    methods = tuple(name for name in re.findall(r"`(\w+)`", heading) if name in METHODS)
    by_columns = ("dpo", "orpo", "reward") if "chosen" in trained[0] else ("sft",)
    return Example(
        methods or by_columns, json.loads("{" + ",".join(keys.splitlines()) + "}"), values(rows), trained
    )


def examples() -> list[Example]:
    sections = re.split(r"^##+ (.*)$", TEXT, flags=re.MULTILINE)
    blocks = [
        (heading, block)
        for heading, body in zip(sections[1::2], sections[2::2], strict=True)
        for block in re.findall(r"^```\w*\n(.*?)^```$", body, re.DOTALL | re.MULTILINE)
    ]
    return [example(heading, block) for heading, block in blocks if "\n→" in block]


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| `")
    ]


def section(title: str) -> str:
    return re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]


EXAMPLES = examples()
CASES = [
    pytest.param(method, one, id=f"{method}: {', '.join(one.source)} {' + '.join(one.rows[0])}")
    for one in EXAMPLES
    for method in one.methods
]
SCORED = (Feedback.REWARDS, Feedback.JUDGE_OR_REWARDS)
ERRORS = [row for row in cells(section("Errors and warnings")) if len(row) == 4]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe of one stage over rows of a file."""
    monkeypatch.chdir(tmp_path)

    def write(method: str, rows: list[Row], source: Row | None = None, template: str | None = None) -> Path:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        stage: Row = {"name": "s", "method": method, "data": "rows"}
        rewards = {"short": {"function": "length", "max": 9}} if get(method).feedback in SCORED else {}
        stage |= {"teacher": "base"} if get(method).feedback is Feedback.TEACHER else {}
        if (sampling := get(method).sampling) is not None:  # one prompt a step
            group = 1 if sampling.group is None else with_defaults(get(method), {})[sampling.group]
            stage["config"] = {"per_device_train_batch_size": group}
        model = {"path": str(MODEL)} | ({"chat_template": template} if template else {})
        whole = {
            "model": model,
            "data": {"rows": {"path": "rows.jsonl", **(source or {})}},
            "rewards": rewards,
            "stages": [stage | ({"rewards": list(rewards)} if rewards else {})],
        }
        Path("recipe.json").write_text(json.dumps(whole), "utf-8")
        return Path("recipe.json")

    return write


@pytest.mark.parametrize(("method", "one"), CASES)
def test_trainers_get_what_the_docs_say(recipe, method, one):
    read = preflight(recipe(method, one.rows, one.source, TEMPLATE))
    assert read.plan is not None, read.diagnostics
    rows = get(method).rows
    made = [dict(row) for row in load(read.plan.data, "rows", rows, 1, Loading(Use(method, rows)))]
    assert sorted(map(json.dumps, made)) == sorted(map(json.dumps, one.made))
    warned = {told.code for told in read.diagnostics} - {"user-turns-learned"}
    assert not warned


def test_every_method_and_many_layouts_have_examples():
    assert {method for one in EXAMPLES for method in one.methods} == set(METHODS)
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize("code, method, row, note", ERRORS, ids=[" ".join(row[:2]) for row in ERRORS])
def test_refused_rows_have_the_code_of_the_docs(recipe, code, method, row, note):
    (bad,) = values(row.strip("`"))
    read = preflight(recipe(method.strip("`"), [bad]))
    found = {told.code for told in read.errors}
    assert found == {code.strip("`")}


def test_codes_are_those_of_the_program():
    named = set(re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*)", section("Errors and warnings"), re.MULTILINE))
    codes = {code for group in named for code in re.findall(r"`([a-z-]+)`", group)} - {"code"}
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "ptspec").rglob("*.py"))
    assert codes
    assert not {code for code in codes if f'"{code}"' not in sources}


def test_every_key_of_a_source_is_in_the_docs():
    tables = section("Keys of a source"), section("Mix and concat")
    named = [set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) for table in tables]
    schema = [
        set().union(*(SCHEMA["$defs"][name]["properties"] for name in names)) - {"$comment"}
        for names in (("files",), ("mix", "concat"))
    ]
    assert named == schema


def test_defaults_of_keys_are_those_of_the_schema():
    keys = SCHEMA["$defs"]["files"]["properties"]
    given = {row[0].strip("`"): row[1] for row in cells(section("Keys of a source")) if len(row) == 3}
    for name, default in given.items():
        if "default" in keys[name]:
            assert json.loads(default.strip("`")) == keys[name]["default"], name
