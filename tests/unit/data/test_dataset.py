"""Sources as an evaluation and rewards get them."""

from __future__ import annotations

import json

import pytest

from ptspec.data.dataset import load_evaluation, strings_in
from ptspec.diagnostics import InputError, Location
from ptspec.recipe.sources import Concat, Mix, OnBadRow, Source


@pytest.fixture
def data(tmp_path):
    """Two sources of 20 rows, a concat and a mix of them."""
    found = {}
    for name in ("a", "b"):
        path = tmp_path / f"{name}.jsonl"
        rows = ({"prompt": f"{name}{number}", "answer": "x"} for number in range(20))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = Source(name, (path,), chat=False)
    joined = Concat("joined", {"a": 1.0, "b": 0.25})
    return {**found, "joined": joined, "mixed": Mix("mixed", {"a": 0.75, "b": 0.25})}


def test_an_evaluation_of_a_concat_reads_its_fractions_in_file_order(data):
    prompts = [row.prompt for row in load_evaluation(data, "joined")]
    assert prompts[:20] == [f"a{number}" for number in range(20)]
    numbers = [int(prompt.removeprefix("b")) for prompt in prompts[20:]]
    assert len(numbers) == 5 and numbers == sorted(numbers) != list(range(5))
    assert prompts == [row.prompt for row in load_evaluation(data, "joined")]


def test_an_evaluation_of_a_mix_reads_every_row(data):
    assert len(load_evaluation(data, "mixed")) == 40


@pytest.mark.parametrize(
    ("prompt", "are_strings"),
    [("q", True), ([{"role": "user", "content": "q"}], False), ({"role": "user", "content": "q"}, False)],
)
def test_rewards_get_strings_where_the_file_has_strings(tmp_path, prompt, are_strings):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": prompt}) + "\n")
    source = Source("rows", (path,))
    assert strings_in(source, {"rows": source}) is are_strings


def test_an_error_of_a_later_file_is_described_that_file(tmp_path):
    good, bad = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    good.write_text('{"prompt": "q"}\n' * 3)
    bad.write_text('{"prompt": "q"}\n{"prompt": ""}\n')
    with pytest.raises(InputError) as found:
        load_evaluation({"rows": Source("rows", (good, bad))}, "rows")
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.location == Location(str(bad), 2)


def test_a_bad_first_line_that_is_left_out_does_not_hide_the_form_of_the_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": \n{"prompt": [{"role": "user", "content": "q"}]}\n')
    source = Source("rows", (path,), on_bad_row=OnBadRow.LEAVE_OUT)
    assert strings_in(source, {"rows": source}) is False
