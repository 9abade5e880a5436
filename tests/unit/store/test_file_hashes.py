"""Files are hashed once: by a process, by a machine; never on the word of a stamp that could deceive."""

import os
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from ptspec.store import file_hashes
from ptspec.store.file_hashes import cache_folder, known_content, known_hash, read_hash
from ptspec.store.files import hash_files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "LARGE", 1000)
    monkeypatch.setattr(file_hashes, "_read", {})


@pytest.fixture
def reads(monkeypatch):
    """The files that are read, in order."""
    read = []
    real = file_hashes.hash_file

    def counted(path):
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(file_hashes, "hash_file", counted)
    return read


def of(data):
    return sha256(data).hexdigest()


def forget(monkeypatch):
    """What another process would know: nothing of this one."""
    monkeypatch.setattr(file_hashes, "_read", {})


def test_a_file_is_read_once_whatever_it_is_called(tmp_path, reads):
    before, after = tmp_path / ".made", tmp_path / "done"
    before.write_bytes(b"x" * 10)
    assert known_hash(before) == of(b"x" * 10)
    before.rename(after)
    after.chmod(0o600)
    assert known_hash(after) == of(b"x" * 10)
    assert reads == [".made"]


def test_what_is_written_in_place_is_read_again_at_once(tmp_path, reads):
    """Of the same size, and within one step of the kernel's clock."""
    path = tmp_path / "file"
    for round in range(20):
        path.write_bytes(b"%04d" % round)
        assert known_hash(path) == of(b"%04d" % round)
    assert len(reads) == 20


def test_a_fresh_file_is_read_when_a_later_write_would_show(tmp_path, monkeypatch):
    """Two writes within one step of the kernel's clock leave the same time."""
    monkeypatch.setattr(file_hashes, "CLOCK_STEP", 500_000_000)
    path = tmp_path / "file"
    path.write_bytes(b"x")
    known_hash(path)
    assert time.time_ns() - path.stat().st_mtime_ns >= 500_000_000


@pytest.mark.parametrize("seconds", [0, 3600], ids=["whole-seconds", "clock-ahead"])
def test_a_time_that_tells_nothing_is_not_trusted(tmp_path, reads, seconds):
    """Of file systems that keep whole seconds, and of servers whose clock is ahead."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    now = int(time.time()) + seconds
    os.utime(path, ns=(0, now * 10**9 + (7 if seconds else 0)))
    known_hash(path), known_hash(path)
    assert len(reads) == 2
    os.utime(path, ns=(0, (now - 7200) * 10**9))
    known_hash(path), known_hash(path)
    assert len(reads) == 3, "an old one is"


def test_a_caller_looks_for_damage_reads(tmp_path, reads):
    path = tmp_path / "file"
    path.write_bytes(b"good")
    assert known_hash(path) == of(b"good")
    was = path.stat()
    path.write_bytes(b"evil")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert read_hash(path) == of(b"evil")
    assert known_hash(path) == of(b"evil"), "what was read last is what is known"


def test_large_files_are_known_to_other_processes(tmp_path, reads, monkeypatch):
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"l" * 1000)
    small.write_bytes(b"s" * 999)
    known_hash(large), known_hash(small)
    assert len(list(cache_folder().iterdir())) == 1
    forget(monkeypatch)
    assert (known_hash(large), known_hash(small)) == (of(b"l" * 1000), of(b"s" * 999))
    assert reads == ["large", "small", "small"]


@pytest.mark.parametrize("deceit", ["same-time", "another-boot", "damaged-entry", "another-path"])
def test_another_process_is_not_deceived(tmp_path, reads, monkeypatch, deceit):
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1000)
    known_hash(path)
    forget(monkeypatch)
    was, (entry,) = path.stat(), cache_folder().iterdir()
    data = b"b" * 1000
    if deceit == "same-time":  # as a copy that keeps times does
        path.write_bytes(data)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    elif deceit == "another-boot":
        data = b"a" * 1000
        monkeypatch.setattr(file_hashes, "_boot", lambda: "another")
    elif deceit == "damaged-entry":
        data = b"a" * 1000
        entry.write_text("{")
    else:
        other = tmp_path / "other"
        other.write_bytes(data)
        path = other
    assert known_hash(path) == of(data)
    assert len(reads) == 2


def test_without_a_cache_folder_everything_works(tmp_path, reads, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1000)
    assert known_hash(path) == known_hash(path) == of(b"a" * 1000)
    assert reads == ["file"]


def test_without_a_home_folder_nothing_is_kept(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(file_hashes, "cache_folder", lambda: file_hashes.Path("~/.cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1000)
    assert known_hash(path) == of(b"a" * 1000)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_several_files_are_read_once_and_again_when_one_has_changed(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(file_hashes, "hash_files", lambda paths: read.append(paths) or hash_files(paths))
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode() * 9)
    assert known_content(paths) == known_content(paths) == of(b"a" * 9 + b"b" * 9)
    assert len(read) == 1
    assert known_content(paths[::-1]) == of(b"b" * 9 + b"a" * 9)
    paths[1].write_bytes(b"c" * 9)
    assert known_content(paths) == of(b"a" * 9 + b"c" * 9)


def test_two_real_processes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (17 << 20))
    program = (
        "import sys\nfrom pathlib import Path\nfrom ptspec.store import file_hashes\n"
        "real, read = file_hashes.hash_file, []\n"
        "file_hashes.hash_file = lambda path: read.append(path) or real(path)\n"
        "print(file_hashes.known_hash(Path(sys.argv[1])), len(read))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert told == [[of(path.read_bytes()), "1"], [of(path.read_bytes()), "0"]]
