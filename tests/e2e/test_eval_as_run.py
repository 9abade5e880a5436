"""`pt eval RUN --data FILE` measures with the chat template and the special tokens of the run."""

from __future__ import annotations

import pytest
from support.small import ROOT, run_here, write_recipe

from ptspec.evaluation import store
from ptspec.evaluation.request import evaluate_targets, make_request

pytestmark = pytest.mark.slow

TEMPLATE = """{{- bos_token -}}{%- for m in messages -%}
{%- if m.role == 'assistant' -%}{{- '<|assistant|>' -}}
{%- generation -%}{{- m.content + eos_token -}}{%- endgeneration -%}
{%- else -%}{{- '<|user|>Listen: ' + m.content + eos_token -}}{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"""


@pytest.fixture
def template(tmp_path):
    file = tmp_path / "t.jinja"
    file.write_text(TEMPLATE)
    return file


def told(event):
    pass


def test_the_same_figures_as_in_the_run(tmp_path, template, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def own_template(recipe):
        recipe["model"] |= {"chat_template": "t.jinja", "eos_token": "<|system|>", "pad_token": "<|end|>"}
        recipe["data"]["heldout"] = {"path": "heldout.jsonl"}
        recipe["stages"] = recipe["stages"][:1]
        recipe["stages"][0]["config"]["max_steps"] = 1
        recipe["eval"] |= {"metrics": ["perplexity"]}

    rows = (ROOT / "data" / "eval.jsonl").read_text().splitlines(keepends=True)[:6]
    (tmp_path / "heldout.jsonl").write_text("".join(rows))
    ran = run_here(write_recipe(tmp_path, own_template), tmp_path / "out")
    assert ran.error is None, ran.error
    template.unlink()  # the stage holds it
    request = make_request([str(ran.output)], tmp_path / "heldout.jsonl", False, None, None)
    for measured in evaluate_targets(request, told):
        kept = store.load_measurement(ran.output / measured.name)
        assert measured.metrics["perplexity"].value == pytest.approx(kept.metrics["perplexity"].value)
