"""From a file of rows to a chat with what was trained on it: each command that a command proposes is typed as
it stands, and works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from support.small import Finished, pt_loaded

PROPOSED = re.compile(
    r"^(?:next {5}| {9}|.*: )(pt (?:init|validate|run|eval|chat|report|export|plan) .*)$", re.M
)


def german(file: Path, names: str) -> None:
    """A table as a German Excel saves it, with 24 rows."""
    rows = (f'"Wie groß ist Müllers Haus {n}; bitte?";"Es ist {n},5 m groß.";{n},5\r\n' for n in range(24))
    file.write_bytes((f"{names};Größe\r\n" + "".join(rows)).encode("cp1252"))


def pairs(file: Path) -> None:
    rows = (
        {"prompt": f"Is {n} even?", "chosen": f"{n} is.", "rejected": "no"} | {"response": "x"}
        for n in range(24)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Typist:
    """Types what it is told, and then every command that is proposed, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: dict[str, Finished] = {}

    def type(self, command: str, code: int = 0) -> None:
        done = self.typed[command] = pt_loaded(*shlex.split(command)[1:], cwd=self.folder)
        assert done.code == code, f"$ {command}\n{done.stdout}{done.stderr}"
        for proposed in PROPOSED.findall(done.stdout + done.stderr):
            if proposed not in self.typed:
                self.type(proposed)


def test_columns_under_names_that_are_not_known(tmp_path, here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    german(tmp_path / "kunden fragen.csv", "Anliegen;Auskunft")
    told = here("init", "kunden fragen.csv")
    (proposed,) = re.findall(r"pt init .*", told.stderr)
    assert (told.code, proposed) == (2, "pt init 'kunden fragen.csv' --prompt Anliegen --completion Auskunft")
    assert here(*shlex.split(proposed)[1:]).code == 0


def test_a_table_of_a_german_excel_from_init_to_plain_transformers(tmp_path):
    german(tmp_path / "kunden fragen.csv", "Frage;Antwort")
    typist = Typist(tmp_path)
    typist.type("pt init 'kunden fragen.csv'")
    assert (
        "columns  prompt is Frage, completion is Antwort"
        in typist.typed["pt init 'kunden fragen.csv'"].stderr
    )
    assert {
        "pt validate recipe.json",
        "pt run recipe.json",
        "pt eval --compare outputs/recipe/base outputs/recipe/sft --show 5",
        "pt chat outputs/recipe/sft",
        "pt export outputs/recipe/sft model",
    } <= typist.typed.keys()
    told = typist.typed["pt run recipe.json"].stderr
    assert (told.count("read as CP1252"), told.count("csv-separator")) == (1, 1)
    report = (tmp_path / "outputs/recipe/report.html").read_text("utf-8")
    assert "kunden fragen.csv: warning[csv-encoding]: read as CP1252" in report
    assert '"$schema"' not in (tmp_path / "recipe.json").read_text("utf-8")
    load = 'load     transformers.AutoModelForCausalLM.from_pretrained("model")'
    assert load in typist.typed["pt export outputs/recipe/sft model"].stderr.splitlines()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.num_parameters() > 0
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template


def test_pairs_with_demonstrations(tmp_path):
    pairs(tmp_path / "pairs.jsonl")
    typist = Typist(tmp_path)
    typist.type("pt init pairs.jsonl --completion response")
    assert "pt eval --compare outputs/recipe/sft outputs/recipe/dpo --show 5" in typist.typed


def test_a_column_answer_that_is_learned_is_not_said_to_be_missing(tmp_path, here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "support.csv").write_text("question,answer\n" + "How long?,It takes some days.\n" * 20)
    here("init", "support.csv")
    told = here("validate", "recipe.json")
    wanted = 'no accuracy: the column "answer" is read as "completion", and eval.accuracy names no reward'
    assert (told.code, wanted in told.stderr + told.stdout) == (0, True)


def test_what_may_not_run_is_called_as_the_recipe_calls_it(tmp_path, here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "pairs.jsonl")
    here("init", "pairs.jsonl", "--method", "grpo")
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    recipe["rewards"] = {"brief": {"function": "mine.py:brevity"}}
    recipe["stages"][0]["rewards"] = ["brief"]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "mine.py").write_text(
        "def brevity(completions, **rest):\n    return [0.0 for _ in completions]\n"
    )
    told = here("run", "recipe.json").stderr
    assert 'the reward "brief" is Python code in mine.py ("brevity"), and the recipe may not' in told


def test_a_run_without_an_evaluation(tmp_path):
    pairs(tmp_path / "pairs.jsonl")
    typist = Typist(tmp_path)
    typist.type("pt init pairs.jsonl --method sft --prompt prompt --completion response --output few.json")
    recipe = json.loads((tmp_path / "few.json").read_text())
    recipe.pop("eval")
    (tmp_path / "blind.json").write_text(json.dumps(recipe))
    typist.type("pt run blind.json")
    assert "pt chat outputs/blind" in typist.typed
    typist.type("pt eval outputs/blind --data pairs.jsonl --prompts 4")
