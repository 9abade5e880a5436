"""Rows that are kept by what they were made of: read once, tokenised once, for every run."""

import errno
import json
import os
import time

import pytest
from support.small import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from ptspec.data import kept_rows as module
from ptspec.data.dataset import load
from ptspec.data.kept_rows import folder_of_rows, kept_rows
from ptspec.methods.types import Rows
from ptspec.recipe.sources import Source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "WORTH", 20)


@pytest.fixture
def read(tmp_path):
    """Reads rows, tool calls of different arguments among them; counts how often."""
    calls = [{"a": 1}, {"b": [None, 2.5]}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"q{number}"},
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": calls[number % 2]}}],
                },
            ]
        }
        for number in range(30)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def read(limit=None):
        read.times += 1
        source = Source("rows", (file,), shuffle=True, limit=limit)
        return load({"rows": source}, "rows", Rows.PROMPT_COMPLETION, 1)

    read.times = 0
    return read


def test_rows_are_read_once_and_are_the_same(read):
    first, again = kept_rows("key", read), kept_rows("key", read)
    assert read.times == 1
    assert list(first) == list(again) == list(read())
    assert again.cache_files, "they lie on the disk, not in memory"


def test_other_rows_are_others(read):
    kept_rows("key", read)
    assert len(kept_rows("other", lambda: read(25))) == 25
    assert read.times == 2


def test_few_rows_are_not_kept(read):
    assert len(kept_rows("key", lambda: read(5))) == 5
    assert not folder_of_rows().exists()


def test_the_quicker_of_two_processes_keeps_the_rows_for_both(read, caplog):
    def slower():
        kept_rows("key", read)
        return read()

    rows = kept_rows("key", slower)
    assert rows.cache_files and list(rows) == list(read()), "those that the quicker one has kept"
    assert not caplog.messages
    assert [folder.name for folder in folder_of_rows().iterdir()] == ["key"]


def test_damaged_rows_are_made_again(read):
    kept_rows("key", read)
    file = folder_of_rows() / "key" / module.ROWS
    file.write_bytes(b"nothing")
    assert list(kept_rows("key", read)) == list(read())
    assert len(kept_rows("key", lambda: pytest.fail("read again"))) == 30


def test_without_room_nothing_is_kept(read, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 1 << 60)
    assert len(kept_rows("key", read)) == 30
    assert list(folder_of_rows().iterdir()) == []


def test_what_was_not_used_for_long_makes_room(read, monkeypatch):
    for key in ("old", "newer"):
        kept_rows(key, read)
    grow_old("old")
    module._read_here.clear()  # as when the runs that read them have ended
    kept_rows("newest", read)
    assert {folder.name for folder in folder_of_rows().iterdir()} == {"newer", "newest"}
    module._read_here.clear()
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    kept_rows("last", read)
    assert {folder.name for folder in folder_of_rows().iterdir()} == {"last"}


def grow_old(key):
    long_ago = time.time() - module.KEPT_SECONDS - 5
    os.utime(folder_of_rows() / key, (long_ago, long_ago))


@pytest.mark.parametrize("has_locks", [True, False])
def test_what_is_read_is_left(read, monkeypatch, has_locks):
    """Of a file system without locks: what was opened lately."""

    def without(file, operation):
        raise OSError(errno.ENOLCK, "no locks")

    if not has_locks:
        monkeypatch.setattr(module.fcntl, "flock", without)
    kept_rows("read", read)
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    if has_locks:
        grow_old("read")
    kept_rows("newer", read)
    assert {folder.name for folder in folder_of_rows().iterdir()} == {"read", "newer"}
    grow_old("read")
    module._read_here.clear()
    kept_rows("newest", read)
    assert "read" not in {folder.name for folder in folder_of_rows().iterdir()}


@pytest.mark.slow
def test_tokens_of_kept_rows_are_made_once(tmp_path, read):
    base = ROOT / "data/base_model"
    source = Source("train", (ROOT / "data/train.jsonl",), limit=40)
    made = []
    for run in ("one", "two"):
        rows = kept_rows("key", lambda: load({"train": source}, "train", Rows.PROMPT_COMPLETION, 1))
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(base),
            args=SFTConfig(output_dir=str(tmp_path / run), use_cpu=True, bf16=False, report_to=[]),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(base),
        )
        files = {file: file.stat().st_mtime_ns for file in (folder_of_rows() / "key").iterdir()}
        made.append((files, list(trainer.train_dataset)))
    assert len(made[0][0]) > 1 and made[0] == made[1]
