"""`pt rows`: which rows, what of them, what is said of those that cannot be shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "data" / "base_model"
HEAD = "<|bos|><|user|>Where does Mira live?<|end|><|assistant|>"
CHAT = [
    {"role": "user", "content": "Where does Mira live?"},
    {"role": "assistant", "content": "In Tarn."},
    {"role": "user", "content": "And Noben?"},
    {"role": "assistant", "content": "In Rome."},
]
PAIR = {
    "prompt": "Where does Mira live?",
    "chosen": "Tarn.",
    "rejected": "Rome.",
    "answer": "Tarn",
    "n": {"a": 1},
}
LABELLED = {"prompt": "Where does Mira live?", "completion": "Tarn.", "label": False}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shows(folder, here):
    """Runs `pt rows` on a recipe of one stage over `rows`, or on a whole `recipe`."""

    def run(*arguments: str, method: str = "sft", rows=(), config=None, **recipe):
        Path("d.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        stage = {"name": "s", "method": method, "data": "d", "config": config or {}}
        given = {"model": str(MODEL), "data": {"d": {"path": "d.jsonl"}}, "stages": [stage], **recipe}
        Path("r.json").write_text(json.dumps(given))
        return here("rows", "r.json", *arguments)

    return run


def objects(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_shipped_recipe(here, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = here("rows", "recipes/sft_dpo.json")
    lines = done.stdout.splitlines()
    heads = [line for line in lines if " · " in line]
    assert done.code == 0
    assert [line.split(" · ")[:2] for line in heads[:3]] == [
        ["sft", f"data/train.jsonl:{n}"] for n in (1, 2, 3)
    ]
    assert [line.split(" · ")[2] for line in heads[3:]] == ["chosen", "rejected"] * 3
    assert re.fullmatch(
        r"sft · data/train.jsonl:1 · 40 tokens, 29 learned · template of data/base_model", lines[0]
    )
    assert re.fullmatch(r"<\|bos\|><\|user\|>.*<\|assistant\|>▐.*<\|end\|>▌", lines[1])


def test_each_learned_span_stands_in_brackets(shows):
    done = shows(rows=[{"messages": CHAT}], config={"assistant_only_loss": True})
    text = f"{HEAD}▐In Tarn.<|end|>▌<|user|>And Noben?<|end|><|assistant|>▐In Rome.<|end|>▌"
    assert text in done.stdout.splitlines()
    (one,) = objects(
        shows("--format", "json", rows=[{"messages": CHAT}], config={"assistant_only_loss": True})
    )
    assert one["learned"] == ["In Tarn.<|end|>", "In Rome.<|end|>"]


def test_without_a_mask_everything_is_learned(shows):
    (one,) = objects(shows("--format", "json", rows=[{"messages": CHAT}]))
    assert one["learned"] == [one["text"]]


def test_json_holds_what_the_trainer_holds(shows):
    chosen, rejected = objects(shows("--format", "json", method="dpo", rows=[PAIR]))
    assert (chosen["side"], rejected["side"]) == ("chosen", "rejected")
    assert (chosen["stage"], chosen["file"], chosen["line"]) == ("s", "d.jsonl", 1)
    assert chosen["text"] == f"{HEAD}Tarn.<|end|>"
    assert chosen["learned"] == ["Tarn.<|end|>"]
    assert chosen["tokens"] == len(chosen["ids"]) == len(chosen["learned_ids"])
    assert sum(chosen["learned_ids"]) == chosen["tokens"] - chosen["prompt_tokens"]
    assert chosen["columns"] is None


def test_a_label_is_shown_and_a_pair_is_two_rows(shows):
    done = shows(method="kto", rows=[LABELLED])
    assert "label false" in done.stdout
    both = objects(shows("--format", "json", method="kto", rows=[PAIR]))
    assert [(one["line"], one["label"]) for one in both] == [(1, True), (1, False)]


def test_rewards_and_judges_stand_beside_the_prompt(shows):
    recipe = {
        "rewards": {"right": {"function": "exact_match"}, "short": {"function": "f.py:short"}},
        "judges": {"j": {"reward": "right"}},
        "stages": [
            {"name": "g", "method": "grpo", "data": "d", "rewards": ["right", "short"]},
            {"name": "n", "method": "nash_md", "data": "d", "judge": "j"},
        ],
    }
    Path("f.py").write_text("def short(prompts, completions, **columns): return [0.0 for _ in completions]\n")
    told = shows(rows=[PAIR], **recipe).stdout.splitlines()
    assert HEAD in told
    assert '  reward "right" (exact_match) gets prompt and answer as strings, and the columns' in told
    assert '  reward "short" (f.py:short) gets prompt and answer as strings, and the columns' in told
    shown = [line.split(maxsplit=1) for line in told]
    assert ["answer", "Tarn"] in shown
    assert ["n", '{"a": 1}'] in shown
    assert ["chosen", "Tarn."] in shown
    assert '  judge "j" (reward right) gets prompt and two answers as strings' in told
    one = objects(shows("--stage", "g", "--format", "json", rows=[PAIR], **recipe))[0]
    assert one["columns"] == {"answer": "Tarn", "n": {"a": 1}, "chosen": "Tarn.", "rejected": "Rome."}
    assert one["learned"] == []


@pytest.mark.parametrize(
    ("most", "told", "text"),
    [
        (9, "dropped: too long for max_length 9", f"{HEAD}Tarn.<|end|>"),
        (10, "cut at max_length 10", f"{HEAD}▐Tarn▌"),
    ],
)
def test_what_max_length_does_is_told(shows, most, told, text):
    row = {"prompt": PAIR["prompt"], "completion": "Tarn."}
    lines = shows(rows=[row], config={"max_length": most}).stdout.splitlines()
    assert told in lines[0]
    assert lines[1] == text


def test_nothing_in_a_row_breaks_the_layout(shows):
    row = {"prompt": "a\x1b[31m\u202eb\tc ▐d▌", "completion": "one\ns · d.jsonl:9 · fake\r\n"}
    lines = shows(rows=[row]).stdout.splitlines()
    assert lines[1].startswith("<|bos|><|user|>a\\x1b[31m\\u202eb\\tc \\u2590d\\u258c<|end|>")
    assert lines[1].endswith("▐one↵")
    assert lines[2:4] == ["  s · d.jsonl:9 · fake\\r↵", "  <|end|>▌"]
    assert len([line for line in lines if line.startswith("s · ")]) == 1


def test_rows_and_lines_are_chosen(shows):
    rows = [{"prompt": f"Question {n}?", "completion": "Yes."} for n in range(1, 9)]

    def lines(*arguments):
        return [one["line"] for one in objects(shows("--format", "json", *arguments, rows=rows))]

    assert lines() == [1, 2, 3]
    assert lines("--rows", "5") == [1, 2, 3, 4, 5]
    assert lines("--line", "7") == [7]
    assert lines("--line", "d.jsonl:6", "--rows", "2") == [6, 7]


def test_sources_of_a_mix_come_in_turn(shows):
    Path("e.jsonl").write_text(json.dumps({"prompt": "E?", "completion": "e"}) + "\n")
    data = {"d": {"path": "d.jsonl"}, "e": {"path": "e.jsonl"}, "m": {"mix": {"d": 0.5, "e": 0.5}}}
    stages = [{"name": "s", "method": "sft", "data": "m"}]
    rows = [{"prompt": f"Question {n}?", "completion": "Yes."} for n in range(4)]
    found = objects(shows("--format", "json", rows=rows, data=data, stages=stages))
    assert [(one["data"], one["line"]) for one in found] == [("d", 1), ("e", 1), ("d", 2)]
    assert "s · e e.jsonl:1 · " in shows(rows=rows, data=data, stages=stages).stdout


def test_notes_go_to_stderr_beside_json(shows):
    done = shows("--format", "json", method="orpo", rows=[PAIR])
    assert len(objects(done)) == 2
    assert "likelihood term takes in the prompt" in done.stderr
    assert "likelihood term takes in the prompt" in shows(method="orpo", rows=[PAIR]).stdout
    packed = shows(rows=[{"messages": CHAT}], config={"packing": True, "max_length": 64})
    assert "packing joins rows to sequences of 64 tokens" in packed.stdout


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"messages": [*CHAT[:2], {"role": "tool", "content": "x"}, *CHAT[1:2]]}, "cannot-render"),
        ({"messages": "no chat"}, "wrong-type"),
        ({"other": 1}, "missing-column"),
    ],
)
def test_a_row_that_cannot_be_shown_is_told_with_its_line(shows, row, code):
    done = shows(rows=[{"messages": CHAT}, row, {"messages": CHAT}])
    assert done.code == 2
    assert f"d.jsonl:2: error[{code}]" in done.stderr
    assert [line.split(" · ")[1] for line in done.stdout.splitlines() if line.startswith("s · ")] == [
        "d.jsonl:1",
        "d.jsonl:3",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stage", "x"), "error[unknown-stage]"),
        (("--line", "99"), "no stage reads a row at line 99 of d.jsonl"),
        (("--line", "x.jsonl:1"), "no stage reads a row at line 1 of x.jsonl"),
        (("--line", "x"), '--line: "x" is not a line'),
        (("--rows", "0"), "error[wrong-usage]"),
        (("--set", "stages.s.config.betta=1"), "error["),
    ],
)
def test_a_wrong_command_line_ends_with_2(shows, arguments, words):
    done = shows(*arguments, rows=[{"messages": CHAT}])
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_model_without_tokenizer_is_told(shows, folder):
    shutil.copy(MODEL / "config.json", folder / "config.json")
    done = shows(rows=[{"messages": CHAT}], model=str(folder))
    assert done.code == 2
    assert "holds no tokenizer" in done.stderr


@pytest.mark.slow
def test_a_tokenizer_that_cannot_be_reached_is_told(shows, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    done = shows(rows=[{"messages": CHAT}], model="nobody/has-this-model")
    assert done.code == 2
    assert "the tokenizer of nobody/has-this-model cannot be opened" in done.stderr
    assert "hf download nobody/has-this-model" in done.stderr


def test_of_rewards_by_a_column_that_is_shown_which_pays_the_row(shows):
    rewards = {
        "number": {"function": "numeric_answer"},
        "verify": {"by": "kind", "rewards": {"math": "number"}, "otherwise": None},
    }
    stage = {"name": "s", "method": "grpo", "data": "d", "rewards": ["verify"]}
    rows = [{"prompt": "2 + 2?", "answer": "4", "kind": kind} for kind in ("math", "chat")]
    first, second = shows(rows=rows, rewards=rewards, stages=[stage]).stdout.split("\n\n")[:2]
    assert 'reward "verify/number" (numeric_answer) gets prompt and answer' in first
    assert "gets prompt and answer" not in second
