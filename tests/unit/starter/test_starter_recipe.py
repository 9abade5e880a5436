"""`pt init` writes a recipe that validates, for each method and each form that its data may have."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.small import ROOT

from ptspec import methods
from ptspec.checks.preflight import preflight
from ptspec.cli import main
from ptspec.data.layouts.table import LAYOUTS
from ptspec.data.readers.scan import scan
from ptspec.starter.recipe import CHAINED, CHAINS, starter

VALUES = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
    "label": True,
}
CASES = [
    (chain, shape.columns)
    for chain in CHAINS
    for shape in LAYOUTS[methods.get(CHAINED[chain].name if chain in CHAINED else chain).rows]
]


@pytest.fixture
def pt(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def pt(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(ended.value.code or 0), capsys.readouterr().err

    return pt


def row(columns, number: int) -> dict:
    """A row with a text in each column; a pair without a prompt is two chats."""
    if set(columns) == {"chosen", "rejected"}:
        first = {"role": "user", "content": f"question {number}"}
        answers = {name: {"role": "assistant", "content": f"{name} {number}"} for name in columns}
        return {name: [first, answer] for name, answer in answers.items()}
    values = {**VALUES, "label": number % 2 == 0}
    return {name: values.get(name, f"{name} {number}") for name in columns}


def write(file: Path, rows: list[dict]) -> None:
    if file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    else:
        text = "".join(json.dumps(one) + "\n" for one in rows).encode()
        file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)


@pytest.mark.parametrize(("chain", "columns"), CASES, ids=str)
def test_a_recipe_for_each_method_and_its_data_validates(pt, chain, columns):
    wanted = {*columns, *(("instruction", "output") if chain in CHAINED else ())}
    write(Path("rows.jsonl"), [row(sorted(wanted), number) for number in range(8)])
    assert pt("init", "--method", chain, "--data", "rows.jsonl")[0] == 0
    code, told = pt("validate", "recipe.json")
    assert code == 0, told
    stages = json.loads(Path("recipe.json").read_text())["stages"]
    assert [stage["method"] for stage in stages] == (["sft", chain[4:]] if chain in CHAINED else [chain])


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.jsonl.gz"])
def test_each_kind_of_file(pt, name):
    write(Path(name), [row(("prompt", "chosen", "rejected"), number) for number in range(3)])
    assert pt("init", "--data", name)[0] == 0
    assert pt("validate", "recipe.json")[0] == 0
    assert [s["method"] for s in json.loads(Path("recipe.json").read_text())["stages"]] == ["dpo"]


@pytest.mark.parametrize(
    ("columns", "chain", "renamed"),
    [
        (("question", "answer"), "sft", {"prompt": "question", "completion": "answer"}),
        (
            ("query", "preferred", "worse"),
            "dpo",
            {"prompt": "query", "chosen": "preferred", "rejected": "worse"},
        ),
        (("dialogue",), "sft", {"messages": "dialogue"}),
        (("question", "response", "liked"), "kto", None),
        (("problem",), "grpo", {"prompt": "problem"}),
    ],
)
def test_columns_under_other_names_are_found(pt, columns, chain, renamed):
    values = {"dialogue": VALUES["messages"]}
    rows = [{n: values.get(n, n) for n in columns} | {"liked": liked} for liked in (True, False)]
    write(Path("rows.jsonl"), [{name: row[name] for name in columns} for row in rows])
    assert pt("init", "--data", "rows.jsonl", "-o", "new/r.json")[0] == 2
    assert pt("init", "--data", "rows.jsonl", "-o", "r.json")[0] == 0
    reading = preflight(Path("r.json"))
    assert reading.plan is not None
    assert [stage.method.name for stage in reading.plan.stages] == [chain]
    assert renamed is None or dict(reading.plan.data["train"].columns) == renamed


ASKED = [{"role": "user", "content": "What is 40 + 2?"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "42"}]


@pytest.mark.parametrize(
    ("row", "chain", "reward"),
    [
        ({"prompt": "a", "completion": "b", "label": False}, "kto", None),
        ({"question": "a", "response": "b", "thumbs_up": 1}, "kto", None),
        ({"prompt": "a", "completion": "b", "label": "positive"}, "sft", None),
        ({"text": "a", "label": 1}, "sft", None),
        ({"messages": ANSWERED}, "sft", None),
        (
            {"messages": ASKED, "ground_truth": "42", "dataset": "gsm8k"},
            "grpo",
            {"function": "numeric_answer", "column": "ground_truth"},
        ),
        (
            {"prompt": "a", "ground_truth": "Tarn"},
            "grpo",
            {"function": "exact_match", "column": "ground_truth"},
        ),
        ({"conversations": [{"from": "human", "value": "a"}]}, "grpo", {"function": "length", "max": 100}),
    ],
    ids=str,
)
def test_what_the_data_is_for(pt, row, chain, reward):
    other = {name: value if isinstance(value, str | list) else not value for name, value in row.items()}
    write(Path("rows.jsonl"), [row, other] * 4)
    assert pt("init", "--data", "rows.jsonl")[0] == 0
    code, told = pt("validate", "recipe.json")
    assert code == 0, told
    recipe = json.loads(Path("recipe.json").read_text())
    assert [stage["method"] for stage in recipe["stages"]] == [chain]
    rewards = list(recipe.get("rewards", {}).values())
    assert [{k: v for k, v in one.items() if k != "$comment"} for one in rewards] == [reward][: bool(reward)]


def test_labelled_chats_are_for_kto(pt):
    write(Path("rows.jsonl"), [{"messages": ANSWERED, "label": good} for good in (True, False)] * 4)
    assert pt("init", "--data", "rows.jsonl")[0] == 0
    assert pt("validate", "recipe.json")[0] == 0
    assert [s["method"] for s in json.loads(Path("recipe.json").read_text())["stages"]] == ["kto"]


@pytest.mark.parametrize("marked", [True, False])
def test_of_a_chat_the_answers_alone_are_learned_where_the_template_marks_them(pt, marked):
    turn = "{% generation %}{{ m.content }}{% endgeneration %}" if marked else "{{ m.content }}"
    shutil.copytree(ROOT / "data" / "base_model", "model")
    Path("model/chat_template.jinja").write_text(f"{{% for m in messages %}}{turn}{{% endfor %}}")
    write(Path("rows.jsonl"), [{"messages": ANSWERED}] * 8)
    assert pt("init", "--data", "rows.jsonl", "--model", "model")[0] == 0
    code, told = pt("validate", "recipe.json")
    assert code == 0, told
    (stage,) = json.loads(Path("recipe.json").read_text())["stages"]
    assert stage["config"].get("assistant_only_loss", False) is marked


def test_held_out_rows_beside_the_data_are_evaluated(pt):
    for name in ("train.jsonl", "eval.jsonl"):
        write(Path(name), [{"instruction": f"{name} {n}", "output": "b"} for n in range(3)])
    assert pt("init", "--data", "train.jsonl")[0] == 0
    assert json.loads(Path("recipe.json").read_text())["eval"]["data"] == "heldout"
    assert pt("validate", "recipe.json")[0] == 0


@pytest.mark.parametrize(
    ("rows", "train", "heldout", "told"),
    [
        (19, None, None, "held out nothing: 19 rows are too few"),
        (30, "train[:90%]", "train[90%:]", "held out the last 3 of 30 rows"),
        (1999, "train[:90%]", "train[90%:]", "held out the last 200 of 1,999 rows"),
        (5000, "train[:-200]", "train[-200:]", "held out the last 200 of 5,000 rows"),
    ],
)
def test_rows_are_held_out(pt, rows, train, heldout, told):
    write(Path("rows.jsonl"), [{"question": f"q {n}", "reply": f"a {n}"} for n in range(rows)])
    code, said = pt("init", "rows.jsonl")
    assert (code, told in said) == (0, True), said
    recipe = json.loads(Path("recipe.json").read_text())
    splits = [recipe["data"].get(name, {}).get("split") for name in ("train", "heldout")]
    assert (splits, "eval" in recipe) == ([train, heldout], heldout is not None)
    plan = preflight(Path("recipe.json")).plan
    assert plan is not None
    held = [sum(1 for _ in scan(source)) for source in plan.data.values()]
    assert sum(held) == rows and (len(held) == 1 or f"last {held[1]} of" in said)


def test_rows_held_out_of_pairs_serve_both_stages(pt):
    rows = [{"q": f"q {n}", "response": "a", "better": "b", "worse": "c"} for n in range(20)]
    write(Path("rows.jsonl"), rows)
    assert pt("init", "rows.jsonl", "--prompt", "q")[0] == 0
    code, told = pt("validate", "recipe.json")
    assert (code, "warning" in told) == (0, False), told
    recipe = json.loads(Path("recipe.json").read_text())
    assert [stage["name"] for stage in recipe["stages"]] == ["sft", "dpo"]
    names = {"prompt": "q", "completion": "response", "chosen": "better", "rejected": "worse"}
    assert recipe["data"]["heldout"]["columns"] == names


@pytest.mark.parametrize(
    ("files", "heldout"),
    [
        (("a.jsonl", "b.jsonl"), {"split": "train[90%:]"}),
        (("train.jsonl", "test.jsonl"), {"split": "test"}),
        (("train.jsonl", "validation.jsonl", "test.jsonl"), {"split": "validation"}),
    ],
)
def test_a_folder(pt, files, heldout):
    Path("rows").mkdir()
    for name in files:
        write(Path("rows") / name, [{"prompt": f"{name} {n}", "completion": "b"} for n in range(12)])
    assert pt("init", "rows")[0] == 0
    assert json.loads(Path("recipe.json").read_text())["data"]["heldout"] == {"path": "rows", **heldout}
    code, told = pt("validate", "recipe.json")
    assert (code, "warning" in told) == (0, False), told


def test_columns_are_named(pt):
    write(Path("rows.csv"), [{"Größe": f"g {n}", "Thema": f"q {n}", "Text davon": "a"} for n in range(3)])
    code, told = pt("init", "rows.csv")
    assert (code, "--prompt 'Größe' --completion Thema" in told) == (2, True), told
    decomposed = unicodedata.normalize("NFD", "größe")
    assert pt("init", "rows.csv", "--prompt", "Thema", "--completion", decomposed)[0] == 0
    columns = json.loads(Path("recipe.json").read_text())["data"]["train"]["columns"]
    assert columns == {"prompt": "Thema", "completion": "Größe"}
    assert pt("validate", "recipe.json")[0] == 0
    code, told = pt("init", "rows.csv", "--prompt", "Tehma", "--completion", "Text davon", "-o", "r.json")
    assert (code, 'did you mean "Thema"?' in told, Path("r.json").exists()) == (2, True, False)
    assert pt("init", "--prompt", "Thema")[0] == 2
    assert pt("init", "rows.csv", "--data", "rows.csv")[0] == 2


def test_named_columns_count_before_those_that_are_known(pt):
    rows = [{"prompt": f"p {n}", "text": "t", "mine": f"m {n}", "good": n % 2 == 0} for n in range(8)]
    write(Path("rows.jsonl"), rows)
    assert pt("init", "rows.jsonl", "--prompt", "mine", "--completion", "text", "--label", "good")[0] == 0
    recipe = json.loads(Path("recipe.json").read_text())
    assert [stage["method"] for stage in recipe["stages"]] == ["kto"]
    assert recipe["data"]["train"]["columns"] == {"prompt": "mine", "completion": "text", "label": "good"}
    assert pt("validate", "recipe.json")[0] == 0


@pytest.mark.parametrize("model", [None, "model"])
def test_the_toy_is_called_one_and_gets_its_rates(pt, model):
    shutil.copytree(ROOT / "data" / "base_model", "model")
    write(Path("rows.jsonl"), [{"prompt": "a", "completion": "b"}] * 20)
    code, told = pt("init", "rows.jsonl", *(("--model", model) if model else ()))
    assert (code, "the toy that ships with ptspec" in told) == (0, model is None)
    (stage,) = json.loads(Path("recipe.json").read_text())["stages"]
    assert stage["config"] == {"learning_rate": 2e-4 if model else 2e-3, "num_train_epochs": 5}


@pytest.mark.parametrize("chain", CHAINS)
def test_without_data_it_goes_over_what_ships_with_the_program(pt, chain):
    assert pt("init", "--method", chain)[0] == 0
    code, told = pt("validate", "recipe.json")
    assert code == 0, told


def test_nothing_is_overwritten(pt):
    Path("recipe.json").write_text("mine")
    code, told = pt("init")
    assert (code, "file-exists" in told) == (2, True)
    assert Path("recipe.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("none.jsonl", None, "missing-file"),
        ("empty.jsonl", "", "no-rows"),
        ("rows.txt", "a", "unsupported-format"),
        ("bad.jsonl", "{", "malformed-row"),
        ("other.jsonl", '{"x": 1}', "missing-column"),
    ],
)
def test_data_that_will_not_do(pt, name, text, code):
    if text is not None:
        Path(name).write_text(text)
    exit_code, told = pt("init", "--data", name)
    assert (exit_code, code in told) == (2, True)
    assert not Path("recipe.json").exists()


def test_an_unknown_method(pt):
    code, told = pt("init", "--method", "sft_dop")
    assert (code, 'did you mean "sft_dpo"?' in told) == (2, True)


def test_a_model_on_the_hub():
    assert starter("sft", "owner/name", None).recipe["model"] == {"path": "owner/name"}
