"""model.chat_template: a file, the template's text, or a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from ptspec.checks.preflight import preflight
from ptspec.checks.template import can_mark
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.recipe.chat_templates import CHATML, named_template, template_names
from ptspec.recipe.resolve import read_recipe

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The plan's model, or the one error, of a recipe with this template."""
    monkeypatch.chdir(tmp_path)
    data = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 20}}
    stages = [{"name": "sft", "method": "sft", "data": "train"}]

    def made(template, check=False, **model):
        given = {"path": str(ROOT / "data/base_model"), "chat_template": template, **model}
        recipe = tmp_path / "recipe.json"
        recipe.write_text(json.dumps({"model": given, "data": data, "stages": stages}))
        reading = preflight(recipe) if check else read_recipe(recipe)
        errors = [d for d in reading.diagnostics if d.severity.value == "error"]
        if errors:
            (error,) = errors
            return error
        return reading.plan.model

    return made


def test_a_file_wins_over_a_name(read, tmp_path):
    assert read("qwen3").chat_template == named_template("qwen3")
    assert read("qwen3").template_file is None
    (tmp_path / "qwen3").write_text("{{ 'mine' }}")
    model = read("qwen3")
    assert (model.chat_template, model.template_file) == ("{{ 'mine' }}", tmp_path / "qwen3")


def test_a_template_inline(read):
    model = read("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert model.chat_template.startswith("{% for")
    assert model.template_file is None


@pytest.mark.parametrize(
    ("given", "hint"),
    [("qwen33", '"qwen3"'), ("chat-ml", '"chatml"'), ("lama3", '"llama3"'), ("mine.jinja", '"mine2.jinja"')],
)
def test_a_name_that_is_none(read, tmp_path, given, hint):
    (tmp_path / "mine2.jinja").write_text("")
    error = read(given)
    assert error.code == "no-such-file"
    assert hint in error.hint


def test_templates_for_training_alone_have_no_name(read):
    assert "qwen3" in template_names()
    assert not [name for name in template_names() if name.endswith("_training")]
    assert read("qwen3_training").code == "no-such-file"


def test_a_file_that_is_no_text(read, tmp_path):
    (tmp_path / "x.jinja").write_bytes(b"\xff\xfe\x00")
    assert read("x.jinja").code == "bad-template"


@pytest.mark.parametrize("where", ["inline", "file"])
def test_a_template_that_does_not_compile(read, tmp_path, where):
    text = "{{ bos_token }}\n{% for m in messages %}\n{{ m.content }\n{% endfor %}"
    (tmp_path / "x.jinja").write_text(text)
    error = read(text if where == "inline" else "x.jinja", check=True)
    assert error.code == "bad-template"
    if where == "file":
        assert (Path(error.location.file).name, error.location.line) == ("x.jinja", 3)
    else:
        assert "line 3" in error.message


def test_chatml_is_what_everybody_writes():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=CHATML)
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "Here."},
    ]
    system = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n"
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    assert whole == f"{system}<|im_start|>assistant\nHere.<|im_end|>\n"
    begin = tokenizer.apply_chat_template(chat[:2], tokenize=False, add_generation_prompt=True)
    assert begin == f"{system}<|im_start|>assistant\n"


@pytest.mark.parametrize("name", template_names())
def test_answers_are_marked_where_trl_can_mark_them(name):
    """What assistant_only_loss does with a template, as TRL's own function says it."""
    text = named_template(name)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), chat_template=text, bos_token="<s>", eos_token="</s>"
    )
    try:
        theirs = has_generation_markers(text) or get_training_chat_template(tokenizer) is not None
    except ValueError:
        theirs = False
    assert can_mark(TokenizerFiles(Path(), text, {})) is theirs
