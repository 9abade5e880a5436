"""Rows that cannot be used, under `on_bad_row` "leave_out": listed, counted, and too many of them stop."""

from __future__ import annotations

import json

import pytest
from support.small import pt_loaded, run_small, write_recipe

from ptspec.checks.preflight import preflight
from ptspec.data.checks.row_checks import Use
from ptspec.data.checks.source_pass import SourcePass
from ptspec.data.dataset import Loading, load
from ptspec.diagnostics import Exit, InputError
from ptspec.methods.types import Rows
from ptspec.recipe.sources import OnBadRow, Source

pytestmark = pytest.mark.slow

SOUND = [
    {"messages": [{"role": "user", "content": f"Where is {who}?"}, {"role": "assistant", "content": "Here."}]}
    for who in "abcdefghijklmnopq"
]
EMPTY = {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": ""}]}
REFUSED = {"messages": [*SOUND[0]["messages"], {"role": "tool", "content": "4"}, SOUND[1]["messages"][1]]}
LONG = {"messages": [{"role": "user", "content": "Where? " * 40}, {"role": "assistant", "content": "Here."}]}
SHORT = {"max_length": 24, "assistant_only_loss": True}
BROKEN = '{"messages": ['


def over(lines, config=None, **source):
    """The small recipe's SFT over these rows; nothing is evaluated."""

    def change(recipe):
        recipe["data"] = {"train": {"path": "rows.jsonl", "on_bad_row": "leave_out", **source}}
        recipe["stages"] = recipe["stages"][:1]
        recipe["stages"][0]["config"] = {"max_steps": 1, "per_device_train_batch_size": 2, **(config or {})}
        del recipe["eval"]

    def write(folder):
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (folder / "rows.jsonl").write_text("".join(f"{text}\n" for text in texts))
        return change

    return write


ROWS = [*SOUND[:2], EMPTY, *SOUND[2:4], BROKEN, SOUND[4], REFUSED, *SOUND[5:]]


def test_they_are_listed_and_said_once(tmp_path):
    run = run_small(tmp_path, over(ROWS, max_bad_rows=0.2)(tmp_path))
    assert run.done.code == 0, run.done.stderr
    listed = [
        json.loads(line) for line in (run.output / "sft" / "left_out_rows.jsonl").read_text().splitlines()
    ]
    assert [(row["line"], row["code"]) for row in listed] == [
        (3, "empty-text"),
        (6, "malformed-row"),
        (8, "cannot-render"),
    ]
    assert all(row["file"].endswith("rows.jsonl") and row["message"] for row in listed)
    assert run.done.stderr.count("3 rows are left out, listed in sft/left_out_rows.jsonl") == 1


def test_more_than_max_bad_rows_stop_the_run(tmp_path):
    recipe = write_recipe(tmp_path, over(ROWS, max_bad_rows=0.05)(tmp_path))
    done = pt_loaded("run", recipe, "--output", tmp_path / "out")
    assert done.code == Exit.WRONG_INPUT, done.stderr
    assert "error[too-many-bad-rows]" in done.stderr and "max_bad_rows" in done.stderr
    assert not (tmp_path / "out").exists()


def test_so_do_those_that_the_template_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading = preflight(write_recipe(tmp_path, over([*SOUND, REFUSED], max_bad_rows=0.01)(tmp_path)))
    (told,) = reading.errors
    assert told.code == "too-many-bad-rows" and "1 of 18 rows (5.6%)" in told.message
    few = preflight(write_recipe(tmp_path, over([*SOUND, REFUSED], max_bad_rows=0.1)(tmp_path)))
    assert few.errors == ()


def test_the_stage_counts_what_it_leaves_out_itself(tmp_path):
    """Rows that only the whole pass of a stage shows to be refused; lines that are no JSON are rows too."""
    over([*SOUND[:4], BROKEN])(tmp_path)
    source = Source("d", (tmp_path / "rows.jsonl",), on_bad_row=OnBadRow.LEAVE_OUT, max_bad_rows=1)
    loading = Loading(Use("sft", Rows.PROMPT_COMPLETION), lambda row: "no")
    with pytest.raises(InputError) as error:
        load({"d": source}, "d", Rows.PROMPT_COMPLETION, 1, loading)
    (told,) = error.value.diagnostics
    assert told.code == "too-many-bad-rows" and told.message.startswith("5 of 5 rows")
    told = [one.message for one in SourcePass(source, [loading.use], set(), is_held_out=False).faults()]
    assert '1 of 5 rows of "d" are left out (on_bad_row)' in told


@pytest.mark.parametrize(
    ("lines", "config", "why"),
    [
        ([LONG] * 3, SHORT, "rows-cut"),
        ([EMPTY, LONG, LONG], SHORT, "no-rows-left"),
        ([BROKEN, EMPTY, REFUSED, LONG], SHORT, "no-rows-left"),
        ([EMPTY, REFUSED], {}, "no-rows-left"),
        ([EMPTY, BROKEN], {}, "too-many-bad-rows"),
        ([REFUSED, REFUSED], {}, "cannot-render"),
        ([*[LONG] * 600, SOUND[0]], SHORT, None),
        ([*[LONG] * 600], SHORT, "no-rows-left"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_where_no_row_is_left_nothing_is_loaded(tmp_path, monkeypatch, lines, config, why):
    monkeypatch.chdir(tmp_path)
    path = write_recipe(tmp_path, over(lines, config, max_bad_rows=1)(tmp_path))
    reading = preflight(path)
    assert [error.code for error in reading.errors] == ([] if why is None else [why])
    assert all(error.hint for error in reading.errors)
