"""A stream that another number of processes goes on with: each step has the rows that it would have had, none
of them twice, none left out."""

from __future__ import annotations

import json
from itertools import islice
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading
from ptspec.data.stream.dataset import Share, StreamWatch, stream
from ptspec.diagnostics import InputError
from ptspec.methods.types import Rows
from ptspec.recipe.sources import Source
from ptspec.training.stream_place import StreamPlace
from ptspec.training.stream_turns import Turns

STEP = 12
"""Rows of a step, of all processes."""
CUTS = {1: (4, 3), 2: (2, 3), 3: (4, 1), 4: (3, 1), 6: (1, 2)}
"""Rows a pass and passes of each of so many processes."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = (json.dumps({"prompt": f"q{n}", "completion": f"{n}"}) for n in range(150))
    file.write_text("\n".join(lines))
    return Source("rows", (file,), streaming=True, shuffle=True)


def as_they_are(dataset):
    return dataset


def dropped(dataset):
    """As a trainer that leaves out what is too long: readers come to be at different places."""
    return dataset.filter(lambda row: int(row["completion"][0]["content"]) % 5 != 2)


def packed(dataset):
    """As a trainer that makes fewer rows of many, batch by batch."""

    def pack(batch):
        texts = [text[0]["content"] for text in batch["completion"]]
        return {"text": [" ".join(texts[at : at + 3]) for at in range(0, len(texts), 3)]}

    return dropped(dataset).map(pack, batched=True, batch_size=7, remove_columns=["prompt", "completion"])


def text(row):
    return row.get("text") or row["completion"][0]["content"]


class Training:
    """Steps of trainers that are made anew, of any number of processes, over one folder of checkpoints."""

    def __init__(self, source, prepare, folder):
        self.source, self.prepare, self.folder = source, prepare, folder
        self.checkpoint, self.step = None, 0

    def places(self, world):
        batch, passes = CUTS[world]
        kind = Rows.PROMPT_COMPLETION
        for process in range(world):
            dataset = stream(
                {"rows": self.source}, "rows", kind, 1, Loading(Use("sft", kind)), Share(batch=batch)
            )
            args = SimpleNamespace(
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=passes,
                world_size=world,
                process_index=process,
            )
            trainer = SimpleNamespace(args=args, train_dataset=self.prepare(dataset))
            yield trainer, StreamPlace(trainer, StreamWatch(), self.checkpoint)

    def go(self, world, steps, ahead=3):
        """What each of so many steps learns from; the readers are `ahead` of the last one."""
        batch, passes = CUTS[world]
        self.step, began, taken = self.step + steps, self.checkpoint, []
        after = self.folder / f"checkpoint-{self.step}"
        after.mkdir(parents=True, exist_ok=True)
        for process, (trainer, place) in enumerate(self.places(world)):
            mine = trainer.train_dataset.shard(world, process)
            found = list(islice(iter(mine), steps * batch * passes + ahead))
            taken.append([text(row) for row in found[: steps * batch * passes]])
            place.store(after, self.step)
        assert began is None or began.exists()
        self.checkpoint = after
        a_step = batch * passes
        return [
            sorted(one for rows in taken for one in rows[step * a_step : (step + 1) * a_step])
            for step in range(steps)
        ]


@settings(max_examples=8, deadline=None)
@given(
    worlds=st.lists(st.sampled_from(sorted(CUTS)), min_size=2, max_size=4),
    steps=st.integers(0, 3),
    prepare=st.sampled_from([as_they_are, dropped, packed]),
)
def test_other_processes_go_on_with_the_very_rows_of_each_step(
    rows, tmp_path_factory, worlds, steps, prepare
):
    undisturbed = Training(rows, prepare, tmp_path_factory.mktemp("whole"))
    changing = Training(rows, prepare, tmp_path_factory.mktemp("changing"))
    expected = undisturbed.go(worlds[0], len(worlds) * max(steps, 1))
    found = [step for world in worlds for step in changing.go(world, max(steps, 1))]
    assert found == expected


def test_no_row_is_left_out_and_none_comes_twice(rows, tmp_path):
    training = Training(rows, as_they_are, tmp_path)
    taken = [row for world in (2, 1, 3) for step in training.go(world, 4) for row in step]
    assert len(taken) == len(set(taken)) == 3 * 4 * STEP
    (last,) = training.go(4, 1)
    assert len(set(taken) | set(last)) == 150, "and then the rows begin again"


def test_a_place_that_nothing_was_learned_from_is_written_again(rows, tmp_path):
    """Stopped before the first step."""
    training = Training(rows, packed, tmp_path / "cut")
    training.go(2, 2)
    training.go(1, 0)
    expected = Training(rows, packed, tmp_path / "whole").go(2, 4)
    assert training.go(3, 2) == expected[2:]


def test_each_reader_is_kept_by_one_process_that_asks_it():
    for readers in range(1, 7):
        for processes in range(1, 7):
            turns = Turns(readers, 4, processes, 3, begin=12)
            kept = [reader for process in range(processes) for reader in turns.kept_by(process)]
            assert sorted(kept) == list(range(readers))
            for process in range(processes):
                assert set(turns.kept_by(process)) <= set(turns.readers_of(process))
    assert Turns(4, 2, 4, 2).readers_of(3) == [3], "as many as before: each asks its own"
    assert Turns(4, 2, 2, 2).readers_of(1) == [1, 3]


def test_a_checkpoint_without_a_place_is_reported(rows, tmp_path):
    training = Training(rows, as_they_are, tmp_path)
    training.checkpoint = tmp_path
    with pytest.raises(InputError) as raised:
        training.go(1, 1)
    assert raised.value.diagnostics[0].code == "no-place-in-stream"
