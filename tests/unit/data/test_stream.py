"""The order of streamed rows: every row once, from any place on, shared out without overlap."""

import gzip
import json
import os
from itertools import islice, pairwise

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.small import ROOT

from ptspec.data.checks.plan_data import check_plan
from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load
from ptspec.data.left_out import LeftOut, LeftOutFile
from ptspec.data.stream import order, pieces
from ptspec.data.stream.dataset import Share, StreamWatch, stream
from ptspec.diagnostics import InputError
from ptspec.methods.types import Rows
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.sources import Concat, Mix, OnBadRow, Source
from ptspec.store.content_hashes import Hashes

ROWS = 700


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces and windows so small that a few hundred rows are many of each."""
    monkeypatch.setattr(pieces, "PIECE", 1500)
    monkeypatch.setattr(order, "WINDOW", 90)
    monkeypatch.setattr(order, "IN_ORDER", 40)


def written(folder, name, rows=range(ROWS)):
    """`name` with a row for each of `rows`, in the format that its suffix says."""
    values = [{"prompt": f"{name} {number}", "completion": "y" * (number % 70 + 1)} for number in rows]
    file = folder / name
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(values), file, row_group_size=64)
        return file
    text = "".join(json.dumps(value) + "\n\n"[: 1 + (len(value["completion"]) == 9)] for value in values)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    elif file.suffix == ".csv":
        lines = (f"{value['prompt']},{value['completion']}\n" for value in values)
        file.write_text("prompt,completion\n" + "".join(lines))
    else:
        file.write_text(text)
    return file


def source(*files, name="rows", **given):
    return Source(name, files, streaming=True, chat=False, **given)


ALONE = Share()


def streamed(sources, name=None, *, seed=1, share=ALONE, watch=None, rows=Rows.PROMPT_COMPLETION):
    data = {one.name: one for one in sources}
    loading = Loading(Use("sft", rows))
    return stream(data, name or sources[-1].name, rows, seed, loading, share, watch)


def prompts(rows, count):
    return [row["prompt"] for row in islice(iter(rows), count)]


FORMATS = ("rows.jsonl", "rows.jsonl.gz", "rows.parquet", "rows.csv")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_row_is_read_once_before_any_is_read_again(tmp_path, name, shuffle):
    rows = source(written(tmp_path, name), written(tmp_path, "more.jsonl", range(31)), shuffle=shuffle)
    told = []
    found = prompts(streamed([rows], watch=StreamWatch(told.append)), 2 * (ROWS + 31) + 1)
    first, second = found[: ROWS + 31], found[ROWS + 31 : -1]
    everything = [f"{name} {n}" for n in range(ROWS)] + [f"more.jsonl {n}" for n in range(31)]
    if shuffle:
        assert first != second
        assert sorted(first) == sorted(second) == sorted(everything)
        places = [everything.index(one) for one in first[:90]]
        assert max(places) - min(places) > (90 if name == "rows.jsonl" else 80)
    else:
        assert first == second == everything
    assert len(told) == 2 and f"the {ROWS + 31} rows of" in told[0]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_place_goes_on_with_the_very_next_row(tmp_path, name, shuffle):
    rows = source(written(tmp_path, name), shuffle=shuffle)
    whole = prompts(streamed([rows]), 3 * ROWS)
    for count in (1, 39, 40, 41, 89, 90, 91, 350, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS - 1):
        before, after = streamed([rows]), streamed([rows])
        assert prompts(before, count) == whole[:count]
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert prompts(after, 200) == whole[count : count + 200]


def test_the_text_of_a_row_is_that_which_is_loaded_whole(tmp_path):
    """Also of numbers and keys that Arrow would change."""
    calls = [{"a": 1}, {"b": 12345678901234567890}, {"a": None, "c": [1, "x", 2.50]}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"é {number}"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": given}}]},
            ]
        }
        for number, given in enumerate(calls)
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows))
    chats = Source("chats", (file,), streaming=True)
    loaded = load({"chats": chats}, "chats", Rows.PROMPT_COMPLETION, 1)
    assert list(islice(iter(streamed([chats])), 3)) == list(loaded)


def test_limit_takes_the_same_rows_in_every_pass(tmp_path):
    rows = source(written(tmp_path, "rows.jsonl"), shuffle=True, limit=130)
    found = prompts(streamed([rows]), 260)
    assert len(set(found[:130])) == 130
    assert sorted(found[:130]) == sorted(found[130:])


@pytest.mark.parametrize("shuffle", [False, True])
def test_processes_take_the_rows_that_one_would_take(tmp_path, shuffle):
    """Two processes of batches of 4: each step learns from the rows of one process with batches of 8."""
    rows = source(written(tmp_path, "rows.jsonl"), shuffle=shuffle)
    whole = prompts(streamed([rows]), 2 * ROWS)
    both = streamed([rows], share=Share(0, 2, 4))
    assert both.num_shards == 2
    first, second = (prompts(both.shard(2, rank), ROWS) for rank in (0, 1))
    for begin in range(0, ROWS, 4):
        assert first[begin : begin + 4] + second[begin : begin + 4] == whole[2 * begin : 2 * begin + 8]


def test_a_shard_goes_on_with_its_own_next_row(tmp_path):
    rows = source(written(tmp_path, "rows.jsonl"), shuffle=True)
    for rank in (0, 1):
        whole = prompts(streamed([rows], share=Share(0, 2, 4)).shard(2, rank), 500)
        before, after = (streamed([rows], share=Share(0, 2, 4)).shard(2, rank) for _ in range(2))
        prompts(before, 123)
        after.load_state_dict(before.state_dict())
        assert prompts(after, 300) == whole[123:423]


def test_a_mix_draws_by_share_and_goes_on_with_the_very_next_row(tmp_path):
    parts = [
        source(written(tmp_path, "a.jsonl"), name="a"),
        source(written(tmp_path, "b.parquet", range(50)), name="b", shuffle=True),
        Mix("both", {"a": 0.75, "b": 0.25}),
    ]
    whole = prompts(streamed(parts), 2500)
    of_a = [one for one in whole if one.startswith("a.")]
    assert 0.7 < len(of_a) / 2500 < 0.8
    assert of_a[:ROWS] == [f"a.jsonl {n}" for n in range(ROWS)]
    assert len({one for one in whole[:400] if one.startswith("b.")}) == 50, (
        "a part that is used up begins again"
    )
    for count in (1, 500, 1023, 1024, 1025, 2000):
        before, after = streamed(parts), streamed(parts)
        prompts(before, count)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert prompts(after, 400) == whole[count : count + 400]


def test_a_concat_takes_its_fractions_shuffled_and_the_same_in_every_pass(tmp_path):
    parts = [
        source(written(tmp_path, "a.jsonl"), name="a"),
        source(written(tmp_path, "b.parquet"), name="b"),
        Concat("both", {"a": 1.0, "b": 0.25}),
    ]
    told = []
    whole = prompts(streamed(parts, watch=StreamWatch(told.append)), 3 * ROWS)
    count = ROWS + len({one for one in whole if one.startswith("b.")})
    assert ROWS * 0.18 < count - ROWS < ROWS * 0.32
    assert f'the {count} rows of "a", "b" have been read through' in told[0]
    assert sorted(whole[:count]) == sorted(whole[count : 2 * count])
    assert {one[0] for one in whole[:200]} == {"a", "b"}
    before, after = streamed(parts), streamed(parts)
    prompts(before, 777)
    after.load_state_dict(before.state_dict())
    assert prompts(after, 500) == whole[777:1277]


def test_the_two_answers_of_a_pair_are_no_neighbours_for_kto(tmp_path):
    values = [{"prompt": f"q{n}", "chosen": "good", "rejected": "bad"} for n in range(300)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    rows = streamed([source(file)], rows=Rows.UNPAIRED_PREFERENCE)
    found = [(row["prompt"], row["label"]) for row in islice(iter(rows), 600)]
    assert sorted(found) == sorted((f"q{n}", label) for n in range(300) for label in (True, False))
    assert sum(a[0] == b[0] for a, b in pairwise(found)) < 20


def test_a_row_that_cannot_be_used_stops_with_its_line(tmp_path):
    file = written(tmp_path, "rows.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    bad = next(number for number, line in enumerate(lines) if number > 600 and line != "\n")
    lines[bad] = '{"prompt": "", "completion": "x"}\n'
    file.write_text("".join(lines))
    with pytest.raises(InputError) as found:
        prompts(streamed([source(file)]), ROWS)
    (told,) = found.value.diagnostics
    assert told.code == "empty-text" and told.location.line == bad + 1
    assert "leave_out" in (told.hint or "")


def test_rows_that_cannot_be_used_are_left_out_listed_once_and_counted(tmp_path):
    file = written(tmp_path, "rows.jsonl", range(300))
    lines = file.read_text().splitlines(keepends=True)
    lines[250], lines[120] = "not JSON\n", '{"prompt": "", "completion": "x"}\n'
    file.write_text("".join(lines))
    rows = source(file, on_bad_row=OnBadRow.LEAVE_OUT, max_bad_rows=0.01)
    listed = LeftOutFile(tmp_path)
    prompts(streamed([rows], watch=StreamWatch(left_out=listed.add)), 900)
    found = [json.loads(line) for line in listed.path.read_text().splitlines()]
    assert [(one["line"], one["code"]) for one in found] == [(121, "empty-text"), (251, "malformed-row")]
    with pytest.raises(InputError) as told:  # a run that goes on lists no row twice, and more are too many
        again = LeftOutFile(tmp_path)
        prompts(
            streamed(
                [source(file, on_bad_row=OnBadRow.LEAVE_OUT, max_bad_rows=0.001)],
                watch=StreamWatch(left_out=again.add),
            ),
            900,
        )
    assert told.value.diagnostics[0].code == "too-many-bad-rows"
    assert len(listed.path.read_text().splitlines()) == 2


def test_processes_that_share_a_stream_list_a_row_once(tmp_path):
    first, second = LeftOutFile(tmp_path), LeftOutFile(tmp_path)
    at_the_top, below = (LeftOut("rows.jsonl", line, "malformed-row", "…") for line in (1, 9))
    assert [one.add(at_the_top) for one in (first, second)] == [True, False]
    assert second.add(below)
    assert (first.rows(), second.rows()) == (2, 2)
    assert len(first.path.read_text().splitlines()) == 2


@pytest.fixture
def bucket():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


@pytest.mark.parametrize("name", FORMATS)
def test_rows_at_an_address_are_those_of_the_file(tmp_path, bucket, name):
    file = written(tmp_path, name)
    bucket.pipe(f"/rows-{name}/part/{name}", file.read_bytes())
    address = f"memory://rows-{name}/part"
    there = Source("there", (), addresses=(address,), streaming=True, chat=False, shuffle=True)
    here = source(file, name="here", shuffle=True)
    whole = prompts(streamed([here]), 2 * ROWS)
    before, after = streamed([there]), streamed([there])
    assert prompts(before, 321) == whole[:321]
    after.load_state_dict(before.state_dict())
    assert prompts(after, ROWS) == whole[321 : 321 + ROWS]
    at_once = load(
        {"there": Source("there", (), addresses=(f"{address}/*",), chat=False)},
        "there",
        Rows.PROMPT_COMPLETION,
        1,
    )
    assert list(at_once["prompt"]) == [f"{name} {n}" for n in range(ROWS)]


def test_an_error_at_an_address_names_address_and_line(bucket):
    bucket.pipe("/bad/rows.jsonl", b'{"prompt": "q", "completion": "a"}\n' * 99 + b"no row\n")
    with pytest.raises(InputError) as found:
        prompts(streamed([Source("bad", (), addresses=("memory://bad/rows.jsonl",), streaming=True)]), 100)
    location = found.value.diagnostics[0].location
    assert (location.file, location.line) == ("memory://bad/rows.jsonl", 100)


def test_lines_of_any_length_fall_into_one_piece_each(tmp_path):
    """Lines longer than a piece, empty ones, a last one without its end."""
    texts = ["x" * n for n in (1, 1400, 1500, 4000, 2, 1499, 3, 9000, 1, 1)]
    lines = [json.dumps({"prompt": str(n), "completion": text}) for n, text in enumerate(texts)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines[:5]) + "\n\n \n" + "\r\n".join(lines[5:]))
    assert prompts(streamed([source(file)]), 20) == [str(n) for n in range(10)] * 2
    made = list(pieces.items_in_pieces(source(file)))
    assert [item.line for item in made] == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]


def test_no_rows_at_all_is_an_error(tmp_path):
    empty = tmp_path / "rows.jsonl"
    empty.write_text("\n")
    with pytest.raises(InputError, match="has no rows"):
        streamed([source(empty)])


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_dataset_of_the_hub_is_read_part_by_part(tmp_path, monkeypatch, format):
    """Folders stand in for the hub: `datasets.load_dataset` streams them by the same way."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for number in range(3):
        written(tmp_path, f"train-{number}.{format}", range(100))
    rows = Source("hub", (), hub=str(tmp_path), streaming=True, shuffle=True, chat=False)
    whole = prompts(streamed([rows]), 700)
    assert sorted(whole[:300]) == sorted(
        f"train-{part}.{format} {n}" for part in range(3) for n in range(100)
    )
    for count in (1, 95, 299, 300, 450):
        before, after = streamed([rows]), streamed([rows])
        prompts(before, count)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert prompts(after, 200) == whole[count : count + 200]
    in_order = Source("hub", (), hub=str(tmp_path), streaming=True, chat=False, limit=120)
    taken = [f"train-0.{format} {n}" for n in range(100)] + [f"train-1.{format} {n}" for n in range(20)]
    assert prompts(streamed([in_order]), 240) == taken * 2


def test_what_is_looked_at_of_a_stream_before_it_starts_is_bounded_and_reported(tmp_path):
    file = written(tmp_path, "rows.jsonl", range(1200))
    lines = file.read_text().splitlines(keepends=True)
    recipe = {
        "model": str(ROOT / "data/base_model"),
        "data": {"train": {"path": str(file), "streaming": True}},
        "stages": [{"name": "sft", "method": "sft", "data": "train", "config": {"max_steps": 5}}],
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    plan = load_plan(tmp_path / "recipe.json")
    file.write_text("".join([*lines[:-1], "no row\n"]))
    checked = check_plan(plan)
    assert not [one for one in checked.diagnostics if one.code == "malformed-row"]
    (note,) = checked.notes
    assert note.startswith('data "train" is streamed: its first 1,000 rows were looked at')
    assert checked.sources["train"].rows == 1000 and not checked.sources["train"].is_whole
    file.write_text("".join(lines[:50]))
    assert check_plan(plan).notes == ()


def test_a_stream_stands_in_the_fingerprint_by_size_and_time_alone(tmp_path):
    file = written(tmp_path, "rows.jsonl", range(3))
    found = {}
    for streaming in (True, False):
        recipe = {
            "model": str(ROOT / "data/base_model"),
            "data": {"train": {"path": str(file), "streaming": streaming}},
            "stages": [{"name": "sft", "method": "sft", "data": "train", "config": {"max_steps": 5}}],
        }
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        plan = load_plan(tmp_path / "recipe.json")
        before = Hashes(plan).source("train")
        os.utime(file, ns=(1, 1))
        found[streaming] = (before, Hashes(plan).source("train"))
        os.utime(file)
    assert found[False][0] == found[False][1] and found[True][0] != found[True][1]
    assert found[True][1][0] == [["rows.jsonl", file.stat().st_size, 1]]
