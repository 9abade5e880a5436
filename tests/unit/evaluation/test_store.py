"""An evaluation's files: whole, read back equal, refused when damaged."""

import json
from dataclasses import replace

import pytest

from ptspec.diagnostics import InputError
from ptspec.evaluation.measure import measure
from ptspec.evaluation.measurement import DataStamp
from ptspec.evaluation.store import ROWS, SAMPLES, STATS, load_measurement, write
from ptspec.rewards.builtin import builtin


@pytest.fixture
def measurement(model, tokenizer, rows, spec):
    return measure(
        model,
        tokenizer,
        rows,
        spec,
        seed=5,
        name="sft",
        rewards={"brief": builtin("length", {"max": 2})},
        data=DataStamp("data/eval.jsonl", "0" * 64, len(rows)),
    )


def test_what_was_written_is_read_back(tmp_path, measurement):
    write(tmp_path, measurement, samples=3)
    assert load_measurement(tmp_path) == measurement
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ROWS, SAMPLES, STATS])


def test_any_text_survives(tmp_path, measurement):
    odd = replace(measurement.rows[0], response="a\u2028b\x85c\r\nd\x00 \ud800", prompt="é\n")
    write(tmp_path, replace(measurement, rows=(odd,)), samples=1)
    (row,) = load_measurement(tmp_path).rows
    assert row.response == "a\u2028b\x85c\r\nd\x00 ?"
    assert row.prompt == "é\n"


def test_samples_stand_beside_those_of_earlier_models(tmp_path, measurement):
    changed = tuple(replace(row, response="as before") for row in measurement.rows[1:])
    base = replace(measurement, name="base", rows=changed)
    write(tmp_path, measurement, samples=2, previous=[base])
    samples = json.loads((tmp_path / SAMPLES).read_text())["samples"]
    assert [sample["prompt"] for sample in samples] == ["Where does Mira live?", "Where does Bo live?"]
    assert [sample["previous"] for sample in samples] == [{}, {"base": "as before"}]
    assert samples[0]["answer"] == "Tarn" and samples[0]["rewards"]["brief"] is not None


def test_the_statistics_say_how_they_came_about(tmp_path, measurement):
    write(tmp_path, measurement, samples=1)
    stats = json.loads((tmp_path / STATS).read_text())
    assert stats["metrics"]["loss"].keys() == {"value", "low", "high", "is_share"}
    assert stats["settings"]["seed"] == 5
    assert stats["settings"]["preference_reference"] == "raw likelihood"
    assert stats["data"] == {"file": "data/eval.jsonl", "sha256": "0" * 64, "rows": 10}
    assert stats["versions"]["torch"]


def damage(folder, name, change):
    path = folder / name
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (STATS, lambda text: text[:50], "damaged"),
        (STATS, lambda text: "[]", "damaged"),
        (STATS, lambda text: text.replace('"format": 1', '"format": 0'), "format 0; this program knows 1"),
        (STATS, lambda text: text.replace('"seed": 5', '"seed": "5"'), 'seed is "5"'),
        (STATS, lambda text: text.replace('"seed"', '"sed"'), "sed, seed"),
        (STATS, lambda text: text.replace('"name": "sft"', '"name": null'), "a name or a number"),
        (ROWS, lambda text: text[:-40], "damaged"),
        (ROWS, lambda text: "\n".join(text.split("\n")[:-2]) + "\n", "has 9 rows where"),
        (ROWS, lambda text: text.replace('"correct": false', '"correct": 0', 1), "correct is 0"),
        (ROWS, lambda text: "\x00" + text, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, measurement, name, change, message):
    write(tmp_path, measurement, samples=1)
    damage(tmp_path, name, change)
    with pytest.raises(InputError, match=message) as caught:
        load_measurement(tmp_path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.location.file == str(tmp_path / name)
    assert diagnostic.hint


def test_the_line_of_a_damaged_row_is_named(tmp_path, measurement):
    write(tmp_path, measurement, samples=1)
    damage(tmp_path, ROWS, lambda text: "\n".join([*text.split("\n")[:4], "{", *text.split("\n")[5:]]))
    with pytest.raises(InputError) as caught:
        load_measurement(tmp_path)
    assert caught.value.diagnostics[0].location.line == 5


@pytest.mark.parametrize("name", [STATS, ROWS])
def test_a_missing_file_is_refused(tmp_path, measurement, name):
    write(tmp_path, measurement, samples=1)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"there is no {name}"):
        load_measurement(tmp_path)
