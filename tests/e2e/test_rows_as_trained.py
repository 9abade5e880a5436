"""What stages learn from rows in the layouts that people have, read off TRL's own trainers.

Each case is the situation of a public report: a trainer is made as `pt run` makes it, and what it holds after
its preparation and collator is decoded.
"""

from __future__ import annotations

import json
from itertools import compress
from pkgutil import resolve_name

import pytest
from support.as_trained import MODEL, TOOLS_TEMPLATE, quiet_transformers, sequences, trainer_for

from ptspec.checks.preflight import preflight

pytestmark = pytest.mark.slow

USER, BOT = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}
WORSE = {"role": "assistant", "content": "No idea."}
HUMAN, GPT = {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}
BEGIN = "<|bos|>"
ASKED = "<|user|>user: Where?<|end|><|assistant|>"
SYSTEM = "<|user|>system: Be brief.<|end|>"
RESULT = {"role": "tool", "content": "4"}
WEATHER = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object", "properties": {}}}
WRAPPED = json.dumps({"type": "function", "function": WEATHER})


def call(name, **arguments):
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


@pytest.fixture(scope="module")
def libraries():
    return quiet_transformers()


@pytest.fixture(scope="module")
def base(libraries):
    return libraries.AutoModelForCausalLM.from_pretrained(MODEL)


@pytest.fixture
def held(base, tmp_path):
    """What the trainer of `method` holds of the sources in `files`: (text, learned text) of each sequence."""

    def look(method, files, source=None, data=None, **config):
        for name, rows in files.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "t.jinja").write_text(TOOLS_TEMPLATE)
        sources = {name: {"path": str(tmp_path / f"{name}.jsonl"), **(source or {})} for name in files}
        if len(files) > 1:
            sources["all"] = data or {"concat": list(files)}
        stage = {"name": "s", "method": method, "data": "all" if len(files) > 1 else next(iter(files))}
        recipe = {
            "model": {"path": str(MODEL), "chat_template": str(tmp_path / "t.jinja")},
            "data": sources,
            "stages": [{**stage, "config": config}],
        }
        (tmp_path / "r.json").write_text(json.dumps(recipe))
        reading = preflight(tmp_path / "r.json")
        assert reading.plan is not None, reading.errors
        return decoded(reading.plan, base, tmp_path)

    return look


def decoded(plan, base, folder):
    from ptspec.model.base import load_tokenizer

    tokenizer = load_tokenizer(plan.model)
    trainer = trainer_for(plan, base, tokenizer, folder)
    return [
        [
            (tokenizer.decode(ids), tokenizer.decode(list(compress(ids, learned))))
            for ids, learned in sequences(trainer, dict(row))
        ]
        for row in trainer.train_dataset
    ]


ALPACA = {"instruction": "Where?", "input": "", "output": "Here."}

SFT = [
    pytest.param(
        {"conversations": [HUMAN, GPT], "tools": json.dumps([WEATHER])},
        f"{BEGIN}TOOLS {WRAPPED}{ASKED}Here.<|end|>",
        id="sharegpt with tools as text",
    ),
    pytest.param(
        {**ALPACA, "system": "Be brief.", "history": [["Hi", "Yes?"]]},
        f"{BEGIN}{SYSTEM}<|user|>user: Hi<|end|><|assistant|>Yes?<|end|>{ASKED}Here.<|end|>",
        id="alpaca with system and history",
    ),
    pytest.param(
        {"prompt": "Where?", "completion": "Here.", "chat_template_kwargs": {"mode": "fast"}},
        f"{BEGIN}MODE fast{ASKED}Here.<|end|>",
        id="template arguments of a row",
    ),
    pytest.param(
        {"messages": [BOT, USER, BOT]},
        f"{BEGIN}<|assistant|>Here.<|end|>{ASKED}Here.<|end|>",
        id="a greeting first",
    ),
    pytest.param(
        {"messages": [{"role": "system", "content": ""}, USER, BOT]},
        f"{BEGIN}<|user|>system: <|end|>{ASKED}Here.<|end|>",
        id="an empty system message",
    ),
    pytest.param(
        {"messages": [USER, USER, BOT]},
        f"{BEGIN}<|user|>user: Where?<|end|>{ASKED}Here.<|end|>",
        id="two turns of the user in a row",
    ),
    pytest.param(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Where?"}]}, BOT]},
        f"{BEGIN}{ASKED}Here.<|end|>",
        id="contents in parts",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "text"), SFT)
def test_sft_holds_what_the_row_says(held, row, text):
    assert held("sft", {"d": [row]})[0][0][0] == text


def test_tool_calls_keep_their_own_arguments(held):
    rows = [
        {"messages": [USER, call("weather", city="Oslo"), RESULT, BOT], "tools": [WEATHER]},
        {"messages": [USER, call("add", x=1, y=[None, 2.5]), RESULT, BOT]},
        {"messages": [USER, call("add", x="one", big=10**30), RESULT, BOT]},
    ]  # fmt: skip
    texts = [sequence[0][0] for sequence in held("sft", {"d": rows})]
    assert 'CALL weather {"city": "Oslo"}<' in texts[0] and f"TOOLS {WRAPPED}" in texts[0]
    assert 'CALL add {"x": 1, "y": [null, 2.5]}<' in texts[1] and "TOOLS" not in texts[1]
    assert f'CALL add {{"x": "one", "big": {10**30}}}<' in texts[2]


def test_only_a_later_row_has_tools_or_template_arguments(held):
    first = {"prompt": "Where?", "completion": "Here."}
    later = {**first, "tools": [WEATHER], "chat_template_kwargs": {"mode": "fast"}}
    texts = [sequence[0][0] for sequence in held("sft", {"d": [first, later]})]
    assert texts[0] == f"{BEGIN}{ASKED}Here.<|end|>"
    assert texts[1] == f"{BEGIN}TOOLS {WRAPPED}MODE fast{ASKED}Here.<|end|>"


DIALOGUE = "\n\nHuman: Where?\n\nAssistant:"

PAIRS = [
    {"prompt": "Where?", "chosen": [USER, BOT], "rejected": [USER, WORSE]},
    {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "No idea."}},
    {"prompt": [HUMAN], "chosen": [GPT], "rejected": [{"from": "gpt", "value": "No idea."}]},
    {"chosen": [HUMAN, GPT], "rejected": [HUMAN, {"from": "gpt", "value": "No idea."}]},
    {
        "chosen": "\n\nHuman: Where?\n\nAssistant: Here.",
        "rejected": "\n\nHuman: Where?\n\nAssistant: No idea.",
    },
]


@pytest.mark.parametrize("method", ["dpo", "orpo", "reward"])
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: " + ".join(row))
def test_pairs_in_the_layouts_that_people_have(held, method, row):
    (chosen, rejected), *_ = held(method, {"d": [row, row]})
    end = "<|end|>" * (2 if method == "orpo" and chosen[0].endswith("<|end|><|end|>") else 1)
    assert chosen[0] == f"{BEGIN}{ASKED}Here.{end}"
    assert rejected[0] == f"{BEGIN}{ASKED}No idea.{end}"
    if method != "reward":
        assert (chosen[1], rejected[1]) == (f"Here.{end}", f"No idea.{end}")


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_system_and_tools_stand_before_both_answers(held, method):
    row = {
        "system": "Be brief.",
        "question": "Where?",
        "chosen": "Here.",
        "rejected": "No idea.",
        "tools": [WEATHER],
    }
    source = {"columns": {"prompt": "question"}}
    for both in held(method, {"d": [row, row]}, source):
        for text, learned in both:
            assert text.startswith(f"{BEGIN}TOOLS {WRAPPED}{SYSTEM}{ASKED}")
            assert learned.startswith(("Here.", "No idea."))


def test_labelled_conversations_are_prompt_answer_and_label(held):
    rows = [{"messages": [USER, BOT], "label": 1.0}, {"messages": [USER, WORSE], "label": 0.0}]
    found = sorted(sequence[0] for sequence in held("kto", {"d": rows}))
    assert found == [
        (f"{BEGIN}{ASKED}Here.<|end|>", "Here.<|end|>"),
        (f"{BEGIN}{ASKED}No idea.<|end|>", "No idea.<|end|>"),
    ]


def test_sources_of_different_layouts_are_each_learned_as_by_themselves(held):
    files = {
        "chats": [{"messages": [USER, BOT]}],
        "alpaca": [{**ALPACA, "output": "There."}],
        "texts": [{"text": "Plain."}],
    }
    found = sorted(sequence[0] for sequence in held("sft", files))
    assert found == sorted(
        [
            (f"{BEGIN}{ASKED}Here.<|end|>", f"{BEGIN}{ASKED}Here.<|end|>"),
            (f"{BEGIN}{ASKED}There.<|end|>", "There.<|end|>"),
            ("Plain.<|end|>", "Plain.<|end|>"),
        ]
    )


def test_and_by_the_answers_alone_where_that_is_asked_for(held):
    files = {
        "chats": [{"messages": [USER, BOT]}],
        "alpaca": [{**ALPACA, "output": "There."}],
    }
    learned = sorted(sequence[0][1] for sequence in held("sft", files, assistant_only_loss=True))
    assert learned == ["Here.<|end|>", "There.<|end|>"]


def test_a_source_gives_its_system_prompt(held):
    text = held("sft", {"d": [{"prompt": "Where?", "completion": "Here."}]}, {"system": "Be brief."})[0][0][0]
    assert text == f"{BEGIN}{SYSTEM}{ASKED}Here.<|end|>"


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_prompts_of_online_methods_are_rendered_as_their_rows_say(base, libraries, tmp_path, method):
    from trl import RLOOConfig, RLOOTrainer

    from ptspec.training.online import GRPOTrainer
    from ptspec.training.row_prompts import RowTemplates

    class Online(RowTemplates, RLOOTrainer):
        pass

    made, config = (GRPOTrainer, resolve_name("trl:GRPOConfig")) if method == "grpo" else (Online, RLOOConfig)
    tokenizer = libraries.AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = TOOLS_TEMPLATE
    rows = [
        {"prompt": [USER], "tools": [WEATHER], "chat_template_kwargs": {"mode": "fast"}},
        {"prompt": [USER], "tools": None, "chat_template_kwargs": {}},
    ]
    arguments = config(
        output_dir=str(tmp_path), report_to=[], bf16=False, use_cpu=True, per_device_train_batch_size=2,
        num_generations=2, max_completion_length=4, chat_template_kwargs={"mode": "slow"},
    )  # fmt: skip
    trainer = made(
        model=base,
        args=arguments,
        train_dataset=resolve_name("datasets:Dataset").from_list([{"prompt": [USER]}] * 2),
        processing_class=tokenizer,
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
    )
    seen = []
    tokenise = trainer._tokenize_prompts
    trainer._tokenize_prompts = lambda prompts: seen.append(found := tokenise(prompts)) or found
    trainer._generate_and_score_completions(rows)
    prompts = [tokenizer.decode(ids) for ids in seen[0][0]]
    assert prompts == [f"{BEGIN}TOOLS {WRAPPED}MODE fast{ASKED}", f"{BEGIN}MODE slow{ASKED}"]
