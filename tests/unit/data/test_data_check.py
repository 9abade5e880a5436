"""What the check of the rows sees beyond one row: repeats, shared prompts, labels. It stays small."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptspec.data.checks import ranges, repeats, source_pass
from ptspec.data.checks.chat_checks import Part, chat_faults, is_sound
from ptspec.data.checks.plan_data import check_plan
from ptspec.data.layouts.turns import messages_of
from ptspec.data.readers import compression, json_list
from ptspec.data.readers.json_list import NotAList, elements
from ptspec.data.readers.placed import PlacedRow, Unreadable
from ptspec.data.readers.scan import scan
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.sources import Source

ROW = {"prompt": "Where is Tarn?", "completion": "In the north."}


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """The check of rows per source; stages are (name, method, source)."""
    monkeypatch.chdir(tmp_path)

    def checked(data: dict[str, list], *stages: tuple[str, str, str], **rest):
        for name, rows in data.items():
            Path(f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        recipe = {
            "model": "some/model",
            "data": {name: {"path": f"{name}.jsonl"} for name in data} | rest.pop("mixes", {}),
            "stages": [{"name": n, "method": m, "data": d, "from": "base"} for n, m, d in stages],
            **rest,
        }
        Path("recipe.json").write_text(json.dumps(recipe))
        return check_plan(load_plan(Path("recipe.json")))

    return checked


def told(found) -> list[tuple[str, str | None, int | None]]:
    return [(d.code, d.location.file, d.location.line) for d in found.diagnostics]


def test_an_input_that_is_no_text_is_reported_wherever_it_stands(checked):
    rows = [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(700)]
    rows[601]["input"] = {"a": 1}
    (fault,) = checked({"a": rows}, ("sft", "sft", "a")).diagnostics
    assert (fault.code, fault.location.line) == ("wrong-type", 602)
    assert '"input" must be a string' in fault.message


def test_rows_with_other_inputs_are_no_repeated_rows(checked):
    rows = [
        {"instruction": "Sort.", "output": "a"},
        *({"instruction": "Sort.", "output": "a", "input": n} for n in "bc"),
    ]
    assert checked({"a": rows}, ("sft", "sft", "a")).diagnostics == []


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]},
        {"instruction": "Where?", "output": "There."},
        {"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]},
    ],
)
def test_a_held_out_prompt_is_found_in_every_layout(checked, row):
    rows = {"a": [row], "b": [{"prompt": "Where?", "completion": "Here."}]}
    found = checked(rows, ("sft", "sft", "a"), eval={"data": "b"})
    assert "held-out-row" in {diagnostic.code for diagnostic in found.diagnostics}


def test_a_row_with_another_id_is_the_same_row_to_sft_and_another_to_a_reward(checked):
    rows = [{**ROW, "id": 1}, {**ROW, "id": 2}]
    assert told(checked({"a": rows}, ("sft", "sft", "a"))) == [("repeated-row", "a.jsonl", 2)]
    rewards = {"short": {"function": "length", "max": 9}}
    found = checked({"a": rows}, ("sft", "sft", "a"), eval={"data": "a"}, rewards=rewards)
    assert found.diagnostics == []


def test_beyond_the_bound_rows_are_compared_with_the_first_alone(checked, monkeypatch):
    monkeypatch.setattr(repeats, "BOUND", 2)
    rows = [{**ROW, "prompt": prompt} for prompt in "abccba"]
    (found,) = checked({"a": rows}, ("sft", "sft", "a")).diagnostics
    assert found.location.line == 5
    assert found.notes[0].startswith("2 rows of 6 are so: lines 5, 6")
    assert "were remembered" in found.notes[1]


def test_held_out_prompts_are_found_in_each_part_of_a_mix(checked):
    data = {"a": [ROW], "b": [{**ROW, "prompt": "x"}], "held": [ROW], "more": [{**ROW, "prompt": "x"}]}
    mixes = {"both": {"mix": {"a": 1, "b": 1}}, "out": {"mix": {"held": 1, "more": 1}}}
    found = checked(data, ("sft", "sft", "both"), eval={"data": "out"}, mixes=mixes)
    assert told(found) == [("held-out-row", "a.jsonl", 1), ("held-out-row", "b.jsonl", 1)]


def test_labels_may_be_alike_in_a_part_of_a_mix_alone(checked):
    good, bad = [{**ROW, "label": True}], [{**ROW, "prompt": "x", "label": False}]
    mixes = {"both": {"mix": {"good": 1, "bad": 1}}}
    data = {"good": good, "bad": bad}
    assert checked(data, ("kto", "kto", "both"), mixes=mixes).diagnostics == []
    assert [d.code for d in checked(data, ("kto", "kto", "bad")).diagnostics] == ["labels-alike"]


def test_every_fault_is_counted_and_the_first_are_shown(checked):
    rows = [ROW, *[{**ROW, "prompt": f"{i}", "completion": None} for i in range(7)]]
    (found,) = checked({"a": rows}, ("sft", "sft", "a")).diagnostics
    assert found.code == "null-value"
    assert found.notes == ("7 rows of 8 have this error: lines 2, 3, 4, …",)


def test_memory_does_not_grow_with_the_rows(checked, monkeypatch):
    monkeypatch.setattr(repeats, "BOUND", 100)
    monkeypatch.setattr(source_pass, "CHUNK", 100)
    peaks = []
    for count in (1_000, 10_000):
        rows = [{"prompt": f"{i} {'x' * 500}", "completion": "y" * 100} for i in range(count)]
        checked({"a": rows}, ("sft", "sft", "a"))
        plan = load_plan(Path("recipe.json"))
        del rows
        tracemalloc.start()
        assert check_plan(plan).sources["a"].rows == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def lines_of_all_kinds(rng: random.Random) -> list[str]:
    """Sound rows, repeated ones, faulty ones, lines that are none."""
    rows = [
        {"prompt": f"{i}", "completion": "é" * rng.randint(1, 40), "label": i % 2 == 0} for i in range(60)
    ]
    faulty = [{"prompt": "x"}, {"prompt": "", "completion": "y", "label": True}, {"prompt": 1, "label": None}]
    lines = [json.dumps(rng.choice(faulty if rng.random() < 0.1 else rows)) for _ in range(300)]
    return [rng.choice([line, line, line, line, "", "  ", "{", "[1]", f" {line}"]) for line in lines]


@pytest.mark.parametrize("seed", range(4))
def test_a_file_that_is_shared_out_gives_the_same_as_one_pass(checked, monkeypatch, seed):
    rng = random.Random(seed)
    held = [{"prompt": f"{i}", "completion": "z"} for i in range(5)]
    stages = (("kto", "kto", "a"), ("sft", "sft", "a"))
    checked({"a": [ROW], "held": held}, *stages, eval={"data": "held"})
    lines = [json.dumps({**ROW, "label": True}), *lines_of_all_kinds(rng)]
    Path("a.jsonl").write_text("\n".join(lines) + rng.choice(["", "\n"]), "utf-8")
    plan = load_plan(Path("recipe.json"))
    alone = check_plan(plan)
    monkeypatch.setattr(ranges, "BIG", 0)
    monkeypatch.setattr(ranges, "RANGE", 500)
    monkeypatch.setattr(ranges, "_processors", lambda: 3)
    assert len(ranges.ranges(plan.data["a"])) > 10
    together = check_plan(plan)
    assert together.diagnostics == alone.diagnostics
    assert together.sources == alone.sources
    assert {d.code for d in alone.diagnostics} >= {
        "malformed-row",
        "repeated-row",
        "held-out-row",
        "wrong-type",
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_a_list_is_read_piece_by_piece_as_it_is_in_one_piece(value, piece, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    before, json_list.PIECE = json_list.PIECE, piece
    try:
        read = list(elements(io.StringIO(text)))
    finally:
        json_list.PIECE = before
    assert repr([item for _, item in read]) == repr(value)
    if indent and all(isinstance(item, str | int | float | None) for item in value):
        assert [line for line, _ in read] == list(range(2, 2 + len(value)))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[\n {"a": 1},\n {"a" 2}\n]', 3, 7),
        ("[1, 2", 1, 6),
        ("[1, 2] 3", 1, 8),
        ("[1 2]", 1, 4),
        ('{"a": 1}', 1, 1),
        ("[1,]", 1, 4),
        ("", 1, 1),
    ],
)
def test_a_broken_list_is_reported_at_its_place(text, line, column):
    with pytest.raises(NotAList) as error:
        list(elements(io.StringIO(text)))
    assert (error.value.line, error.value.column) == (line, column)


@pytest.mark.parametrize(
    "line", ['{"a": "\\ud800"}', f'{{"a": {"9" * 5000}}}', "[" * 100_000, '{"a": "\x00"}']
)
def test_a_line_that_no_program_could_read_is_named(tmp_path, line):
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"a": 1}}\n{line}\n')
    good, broken = scan(Source("a", (file,)))
    assert isinstance(good, PlacedRow)
    assert isinstance(broken, Unreadable) and broken.line == 2


def test_a_json_file_may_hold_a_row_a_line(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}\n{"a": 2}\n')
    assert [row.values["a"] for row in scan(Source("a", (file,)))] == [1, 2]


def test_a_file_that_needs_a_package_says_which(checked, monkeypatch):
    def fails(name):
        raise ImportError(name)

    monkeypatch.setattr(compression, "import_module", fails)
    Path("a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    found = checked({}, ("sft", "sft", "a"), mixes={"a": {"path": "a.jsonl.zst"}})
    assert told(found) == [("missing-package", "a.jsonl.zst", None)]
    assert "pip install zstandard" in found.diagnostics[0].message


TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool", "bot", None]),
        "content": st.sampled_from(["a", "", " ", None, 1]),
    }
)


@given(st.lists(TURN, max_size=5))
def test_what_is_sound_at_a_glance_has_no_fault(messages):
    if is_sound(messages):
        as_read = messages_of("messages", messages)
        assert as_read == messages
        assert not list(chat_faults("messages", as_read, Part.CONVERSATION, ""))
