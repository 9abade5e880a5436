"""What `pt chat` says beside the answers: that it loads, and lines that break between words."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from ptspec.chat.lines import HELP
from ptspec.chat.terminal import Terminal
from ptspec.cli import main
from ptspec.diagnostics import Diagnostic, InputError


@pytest.mark.parametrize("width", [40, 60, 80])
def test_help_and_errors_break_between_words(width):
    """At 80 columns it read "without TEXT n|one", "nev|er overwrites"."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, soft_wrap=True)
    screen = Terminal(console)
    message = "the file is there already, and nothing of yours is ever overwritten by a conversation"
    screen.remark(HELP)
    screen.fault(InputError(Diagnostic("x", message)))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(console.file.getvalue().split()) == " ".join(f"{HELP} {message}".split())


def test_it_says_that_it_loads_before_it_does(monkeypatch, capsys, tmp_path):
    """The screen was blank for 13 seconds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing/config.json").write_text("{}")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        main(["chat", "./nothing"])
    said = capsys.readouterr()
    assert said.out.split("\r")[0] == "loading ./nothing …" and "error" in said.err
