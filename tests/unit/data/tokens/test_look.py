"""What real chat templates make of rows: what they leave out, how they begin and end answers."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.tokenizers_for import ENDS, family, model_for, tokenizer_for
from transformers import AutoTokenizer

from ptspec.checks.template import end_of_answer, stops
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.look import Finding, Kind, Look
from ptspec.data.tokens.remedies import remedy
from ptspec.data.tokens.template import read_tokenizer
from ptspec.data.tokens.thoughts import KNOWN, split_thoughts
from ptspec.recipe.chat_templates import CHATML

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def calling(**arguments):
    function = {"name": "get_weather", "arguments": arguments}
    return said("assistant", "", tool_calls=[{"id": "abcdefgh1", "type": "function", "function": function}])


PLAIN = {"prompt": [said("user", "Where is it?")], "completion": [said("assistant", "It is here.")]}
SYSTEM = {**PLAIN, "prompt": [said("system", "Be brief."), said("user", "Where is it?")]}
THOUGHT = {**PLAIN, "completion": [said("assistant", "<think>\nI look\n</think>\n\nIt is here.")]}
CALL = {**PLAIN, "completion": [calling(city="Tarn")], "tools": [WEATHER]}
PAST = {
    "messages": [
        said("user", "Hi."),
        said("assistant", "<think>\nA greeting\n</think>\n\nHello."),
        said("user", "Where?"),
        said("assistant", "Here."),
    ]
}


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """The look of a template's family at a row: what is left out, and the kinds of the other findings."""
    made: dict[str, Look] = {}

    def findings(name, row):
        if name not in made:
            tokenizer = read_tokenizer(family(name, tmp_path_factory.mktemp(name)))
            made[name] = Look(tokenizer, stops(tokenizer))
        found = made[name].findings(row)
        return {one.what if one.kind is Kind.LEFT_OUT else one.kind for one in found}

    return findings


@pytest.mark.parametrize("name", ENDS)
def test_a_plain_row_is_reported_only_of_what_its_template_does(look, name):
    odd = {"glm4moe": {Kind.NO_STOP, Kind.EMPTY_THOUGHT}}
    odd |= {name: {Kind.EMPTY_THOUGHT} for name in ("qwen3", "qwen3_5_think")}
    thinking = {Kind.NOT_PREFIX}
    odd |= dict.fromkeys(("deepseek_r1_distill", "deepseekv3", "nemotron_3_nano"), thinking)
    assert look(name, PLAIN) == odd.get(name, set())


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("deepseek_r1_distill", THOUGHT, "the answer's thoughts (<think>…</think>)"),
        ("deepseekv3", THOUGHT, "the answer's thoughts (<think>…</think>)"),
        ("llama3", CALL, "the answer's tool calls"),
        ("gemma", CALL, "the answer's tool calls"),
        ("gemma3", CALL, "the answer's tool calls"),
        ("cohere2", CALL, "the answer's tool calls"),
        ("phi3", CALL, "the answer's tool calls"),
        ("phi3", CALL, "the tools"),
        ("qwen3", PAST, "earlier turns' thoughts (<think>…</think>)"),
    ],
)
def test_what_a_template_leaves_out_is_found(look, name, row, expected):
    assert expected in look(name, row)


@pytest.mark.parametrize(("opening", "closing"), KNOWN)
def test_thoughts_between_any_tags_are_reported_as_thoughts(tmp_path, opening, closing):
    tokenizer = read_tokenizer(family("qwen2_5", tmp_path))
    dropping = "{% for m in messages %}{{ m.content.split(CLOSING)[-1] }}{% endfor %}".replace(
        "CLOSING", repr(closing)
    )
    text = f"{opening}I look{closing} It is here."
    found = Look(replace(tokenizer, template=dropping), frozenset()).findings(
        {**PLAIN, "completion": [said("assistant", text)]}
    )
    assert Finding(Kind.LEFT_OUT, f"the answer's thoughts ({opening}…{closing})") in found
    assert Finding(Kind.LEFT_OUT, "the answer") not in found


def test_thoughts_are_split_off_in_linear_time():
    text = "<think>" * 100_000 + "[THINK]a[/THINK]b"
    start = time.process_time()
    thoughts, rest = split_thoughts(text)
    assert thoughts == [(("[THINK]", "[/THINK]"), "a")] and rest == ["<think>" * 100_000, "b"]
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("qwen3", THOUGHT),
        ("qwen3", CALL),
        ("qwen2_5", CALL),
        ("llama3_1", CALL),
        ("gptoss", CALL),
        ("gemma3", SYSTEM),
        ("phi3", SYSTEM),
        ("llama3", SYSTEM),
        ("qwen3", {**PLAIN, "chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_what_a_template_keeps_is_not_reported(look, name, row):
    assert look(name, row) == set()


def test_the_kwargs_of_a_row_reach_the_template(look, tmp_path):
    tokenizer = read_tokenizer(family("qwen3", tmp_path))
    off = tokenizer.render(PLAIN["prompt"], prompt=True, kwargs={"enable_thinking": False})
    assert off.endswith("<think>\n\n</think>\n\n")
    assert "think" not in tokenizer.render(PLAIN["prompt"], prompt=True)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for given in ({}, {"enable_thinking": False}):
        expected = theirs.apply_chat_template(
            PLAIN["prompt"], tools=[WEATHER], tokenize=False, add_generation_prompt=True, **given
        )
        assert tokenizer.render(PLAIN["prompt"], prompt=True, tools=[WEATHER], kwargs=given) == expected


def test_a_text_counts_once_where_a_row_holds_it_twice(tmp_path):
    """A system prompt that is left out is missed, though the user repeats its words."""
    without = CHATML.replace("for message in messages", "for message in messages if message.role != 'system'")
    tokenizer = read_tokenizer(model_for(tokenizer_for(without, None, "<|im_end|>"), tmp_path))
    row = {**PLAIN, "prompt": [said("system", "Be brief."), said("user", "Be brief. Where is it?")]}
    assert Look(tokenizer, stops(tokenizer)).findings(row) == [Finding(Kind.LEFT_OUT, "the system prompt")]


def test_a_text_that_stands_in_a_mark_too_is_looked_for_outside_of_it(tmp_path):
    """The words start and end are parts of <|im_start|> and <|im_end|>."""
    tokenizer = read_tokenizer(model_for(tokenizer_for(CHATML, None, "<|im_end|>"), tmp_path))
    row = {"prompt": [said("user", "start")], "completion": [said("assistant", "end")]}
    assert Look(tokenizer, stops(tokenizer)).findings(row) == []
    without = CHATML.replace("for message in messages", "for message in messages if message.role != 'user'")
    tokenizer = read_tokenizer(model_for(tokenizer_for(without, None, "<|im_end|>"), tmp_path / "without"))
    assert Look(tokenizer, stops(tokenizer)).findings(row) == [Finding(Kind.LEFT_OUT, "the user's words")]


def test_tokens_that_merge_where_the_answer_begins(tmp_path):
    """A tokenizer with a token of two line breaks: the prompt ends with one, the answer begins with one."""
    template = CHATML.replace("<|im_start|>assistant\\n", "<|im_start|>assistant\\n<think>\\n")
    made = tokenizer_for(template, None, "<|im_end|>")
    made.add_tokens(["\n\n"])
    tokenizer = read_tokenizer(model_for(made, tmp_path))
    look = Look(tokenizer, stops(tokenizer))
    row = {**PLAIN, "completion": [said("assistant", "<think>\n\n</think>\n\nIt is here.")]}
    assert Finding(Kind.NOT_PREFIX, "<|im_start|>assistant\n<think>\n"[-30:]) in look.findings(row)
    row = {**PLAIN, "completion": [said("assistant", "<think>\nI look\n</think>\n\nIt is here.")]}
    assert look.findings(row) == []


def test_marks_that_the_tokenizer_splits_are_named(tmp_path):
    made = tokenizer_for("{{ messages }}", "<|bos|>", "<|end|>")
    made.chat_template = CHATML
    tokenizer = read_tokenizer(model_for(made, tmp_path))
    found = Look(tokenizer, stops(tokenizer)).findings(PLAIN)
    assert [one.what for one in found if one.kind is Kind.SPLIT] == ["<|im_start|>", "<|im_end|>"]
    assert Kind.NO_STOP in {one.kind for one in found}
    row = {**PLAIN, "prompt": [said("user", "What does <|im_sep|> mean?")]}
    assert "<|im_sep|>" not in [one.what for one in Look(tokenizer, stops(tokenizer)).findings(row)]


def test_pairs_and_prompts_are_looked_at(look):
    pair = {"prompt": PLAIN["prompt"], "chosen": [calling(city="Tarn")], "rejected": PLAIN["completion"]}
    assert look("llama3", pair) == {"the answer's tool calls"}
    assert look("llama3", {"prompt": SYSTEM["prompt"]}) == set()


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("deepseekv3", {k: v for k, v in CALL.items() if k != "tools"}, '"arguments"'),
        (
            "llama3",
            {**PLAIN, "completion": [said("assistant", [{"type": "text", "text": "Here."}])]},
            "string",
        ),
        ("llava_next", PLAIN, "list of parts"),
    ],
)
def test_how_to_write_a_row_that_a_template_fails_on(tmp_path, name, row, expected):
    from ptspec.recipe.chat_templates import named_template

    made = tokenizer_for(named_template(name), "<s>", "</s>")
    tokenizer = read_tokenizer(model_for(made, tmp_path))
    with pytest.raises(CannotRender) as raised:
        Look(tokenizer, frozenset()).findings(row)
    assert not raised.value.own
    assert not any(word in str(raised.value) for word in ("object", "concatenate", "Error"))
    assert expected in remedy(row, tokenizer)


def test_a_template_that_refuses_in_its_own_words(look):
    with pytest.raises(CannotRender, match="System role not supported") as raised:
        look("gemma", SYSTEM)
    assert raised.value.own


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_an_answer_is_what_generation_stops_at(tmp_path, name):
    tokenizer = read_tokenizer(family(name, tmp_path))
    end = end_of_answer(tokenizer, stops(tokenizer))
    if name == "glm4moe":
        assert (end.text, end.token, end.stops) == ("", None, False)
    else:
        assert end.stops
        assert end.token in stops(tokenizer)


def test_a_base_model_that_ends_texts_otherwise_than_its_template_ends_answers(tmp_path):
    from ptspec.recipe.chat_templates import named_template

    made = tokenizer_for(named_template("qwen2_5"), None, "<|endoftext|>")
    tokenizer = read_tokenizer(model_for(made, tmp_path))
    end = end_of_answer(tokenizer, stops(tokenizer))
    assert (end.token, end.stops) == ("<|im_end|>", False)


def test_ids_that_the_embedding_has_no_row_for(tmp_path):
    folder = Path(model_for(tokenizer_for(CHATML, None, "<|im_end|>"), tmp_path))
    file = folder / "tokenizer.json"
    written = json.loads(file.read_text())
    rows = 1 + max(token["id"] for token in written["added_tokens"])
    more = {"id": rows, "content": "<think>", "special": False, "normalized": False}
    written["added_tokens"].append({**more, "single_word": False, "lstrip": False, "rstrip": False})
    file.write_text(json.dumps(written))
    tokenizer = read_tokenizer(folder)
    assert tokenizer.highest_id == rows
    look = Look(tokenizer, stops(tokenizer), embedding=rows)
    assert Finding(Kind.BEYOND, "<think>") in look.findings(THOUGHT)
    assert Finding(Kind.BEYOND, "<think>") in look.findings({"text": "so <think> it"})
    assert look.findings(PLAIN) == []


def test_special_tokens_of_an_older_repository(tmp_path):
    """They stand in special_tokens_map.json, which transformers reads too."""
    folder = family("qwen2_5", tmp_path)
    file = folder / "tokenizer_config.json"
    config = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("eos_token", "pad_token")}
    file.write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    assert read_tokenizer(folder).special["eos_token"] == AutoTokenizer.from_pretrained(folder).eos_token
