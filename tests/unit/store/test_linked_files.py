"""Files are linked or copied as they are: links stay links, and only the top level leaves names out."""

import os
import subprocess
import sys

import pytest

from ptspec.store.files import UMASK, folder_size, link_folder, link_or_copy


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_text("12345")
    (folder / "left").write_text("x")
    (folder / "inner" / "left").write_text("123")
    (folder / "link").symlink_to("weights")
    (folder / "links").symlink_to("inner")
    return folder


@pytest.mark.parametrize("has_links", [True, False])
def test_a_folder_is_linked_but_for_names_of_its_top_level(source, tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    target = tmp_path / "target"
    target.mkdir()
    link_folder(source, target, {"left"})
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == [
        *("inner", "inner/left", "link", "links", "weights"),
    ]
    assert (target / "link").readlink().as_posix() == "weights"
    assert (target / "links").is_symlink()
    assert (target / "weights").samefile(source / "weights") is has_links


@pytest.mark.parametrize("has_links", [True, False])
def test_a_link_is_made_again_and_not_followed(source, tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    link_or_copy(source / "link", tmp_path / "copy")
    assert (tmp_path / "copy").is_symlink() and (tmp_path / "copy").readlink().as_posix() == "weights"


def test_the_size_of_a_folder_is_that_of_all_its_files(source):
    for link in ("link", "links"):
        (source / link).unlink()
    assert folder_size(source) == 5 + 1 + 3


def test_reading_the_umask_leaves_it():
    code = "import os; os.umask(0o027); from ptspec.store.files import UMASK; print(UMASK, os.umask(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(0o027)] * 2
    before = os.umask(UMASK)
    assert before == UMASK
