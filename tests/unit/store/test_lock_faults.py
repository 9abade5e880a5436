"""What the lock says of its holder, and what it does by each answer of the kernel."""

import errno
import json

import pytest

from ptspec.diagnostics import InputError
from ptspec.store import lock as locks
from ptspec.store.lock import LOCK, Holder, lock, writer_of

HOLDER = {"host": "node7", "pid": 12, "since": "2026-01-01T10:00:00+00:00"}


def answering(monkeypatch, error):
    def refused(*_):
        raise error

    monkeypatch.setattr(locks.fcntl, "lockf", refused)


@pytest.mark.parametrize(
    ("written", "by"),
    [
        (json.dumps(HOLDER), "process 12 on node7, since 2026-01-01 10:00:00 UTC"),
        ("", "another process"),
        ('{"host": "node7"}', "another process"),
        ('["node7"]', "another process"),
        (json.dumps(HOLDER | {"pid": "x"}), "another process"),
    ],
)
@pytest.mark.parametrize("error", [BlockingIOError(), PermissionError()])
def test_a_folder_that_is_held_is_told_with_its_holder(tmp_path, monkeypatch, written, by, error):
    (tmp_path / LOCK).write_text(written)
    answering(monkeypatch, error)
    with pytest.raises(InputError) as raised, lock(tmp_path):
        pytest.fail("not held")
    (told,) = raised.value.diagnostics
    assert (told.code, told.message) == ("run-in-progress", f"{tmp_path} is being written by {by}")
    assert told.location.file == str(tmp_path)
    assert told.hint == "wait for it, or give this run a folder of its own: --output DIR"
    assert (tmp_path / LOCK).read_text() == written


@pytest.mark.parametrize("number", locks.NO_LOCKS)
def test_a_file_system_without_locks_gets_a_lock_file(tmp_path, monkeypatch, number):
    answering(monkeypatch, OSError(number, "no locks"))
    with lock(tmp_path) as held:
        assert held.is_soft and held.died is None
        assert (tmp_path / locks.SOFT_LOCK).exists()
        assert json.loads((tmp_path / LOCK).read_text()).keys() == {"host", "pid", "since"}
    assert (tmp_path / LOCK).read_text() == "" and not (tmp_path / locks.SOFT_LOCK).exists()


def test_another_fault_of_the_file_system_is_not_taken_for_that(tmp_path, monkeypatch):
    answering(monkeypatch, OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"), lock(tmp_path):
        pytest.fail("not held")


def test_who_held_it_and_died_is_known(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps(HOLDER))
    with lock(tmp_path) as held:
        assert held.died == Holder("node7", 12, "2026-01-01T10:00:00+00:00") and not held.is_soft
    assert writer_of(tmp_path) is None


def test_a_writer_on_another_host_cannot_be_known_to_have_ended(tmp_path):
    assert writer_of(tmp_path) is None
    (tmp_path / LOCK).write_text(json.dumps(HOLDER))
    assert writer_of(tmp_path) == Holder("node7", 12, "2026-01-01T10:00:00+00:00")
