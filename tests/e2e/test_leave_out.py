"""Rows that cannot be used, under `on_bad_row` "leave_out": listed, counted, and too many of them stop."""

from __future__ import annotations

import json

import pytest
from small import pt, run_here, run_small, write_recipe

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import Exit

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
    done = pt("run", recipe, "--output", tmp_path / "out")
    assert done.code == Exit.WRONG_INPUT, done.stderr
    assert "error[too-many-bad-rows]" in done.stderr and "max_bad_rows" in done.stderr
    assert not (tmp_path / "out").exists()


def test_so_do_those_that_only_the_template_refuses(tmp_path):
    """Their number is known when the stage reads them; it has not begun to train."""
    recipe = write_recipe(tmp_path, over([*SOUND, REFUSED], max_bad_rows=0.01)(tmp_path))
    ran = run_here(recipe, tmp_path / "out")
    assert ran.error is not None and ran.error.exit is Exit.WRONG_INPUT
    (told,) = ran.error.diagnostics
    assert told.code == "too-many-bad-rows" and "1 of 18 rows (5.6%)" in told.message


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
