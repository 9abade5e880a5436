"""The look at rendered rows reaches every source and file of a stage, and each row once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec.checks.preflight import preflight

BASE = Path(__file__).parents[3] / "data" / "base_model"
DROPS_SYSTEM = (
    "{%- for m in messages -%}{%- if m.role != 'system' -%}"
    "{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
REFUSES_SYSTEM = (
    "{%- for m in messages -%}{%- if m.role == 'system' -%}{{- raise_exception('no system') -}}{%- endif -%}"
    "{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
PLAIN = {"prompt": "Where?", "completion": "Here."}
WITH_SYSTEM = {"prompt": "Who?", "completion": "Me.", "system": "Be brief."}


@pytest.fixture
def found(tmp_path):
    def look(template, files, data):
        for name, rows in files.items():
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "t.jinja").write_text(template)
        model = {"path": str(BASE), "chat_template": "t.jinja"}
        stages = [{"name": "s", "method": "sft", "data": "d"}]
        (tmp_path / "r.json").write_text(json.dumps({"model": model, "data": data, "stages": stages}))
        return preflight(tmp_path / "r.json").diagnostics

    return look


def test_every_source_of_a_stage_is_looked_at(found):
    files = {"a.jsonl": [PLAIN, {**PLAIN, "prompt": "When?"}], "b.jsonl": [WITH_SYSTEM]}
    data = {"a": {"path": "a.jsonl"}, "b": {"path": "b.jsonl"}, "d": {"concat": ["a", "b"]}}
    (told,) = [one for one in found(DROPS_SYSTEM, files, data) if one.code == "template-drops-text"]
    assert (Path(told.location.file).name, told.location.line) == ("b.jsonl", 1)


def test_a_row_of_several_files_is_counted_once(found):
    other = {**WITH_SYSTEM, "prompt": "Whose?"}
    files = {"a.jsonl": [PLAIN, WITH_SYSTEM], "b.jsonl": [other]}
    (told,) = [
        one
        for one in found(REFUSES_SYSTEM, files, {"d": {"path": ["a.jsonl", "b.jsonl"]}})
        if one.code == "cannot-render"
    ]
    assert told.notes == ("2 of the first 3 rows are refused",)
