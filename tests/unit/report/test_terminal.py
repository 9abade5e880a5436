"""Which listener a stream gets, on real pseudo-terminals."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest
from support.screen_run import run

from ptspec.report import terminal
from ptspec.report.plain import Plain
from ptspec.report.screen import Screen

COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|9[0-7])(?:;[0-9]+)*m")


@contextlib.contextmanager
def pseudo_terminal(encoding="utf-8"):
    """A writable end, and what arrives at the other."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    arrived: list[bytes] = []

    def drain() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(near, 65536):
                arrived.append(data)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with open(far, "w", encoding=encoding) as stream:  # noqa: PTH123
        yield stream, arrived
    reader.join(5)
    os.close(near)


@pytest.mark.parametrize(
    ("term", "encoding", "kind"),
    [
        ("xterm-256color", "utf-8", Screen),
        ("dumb", "utf-8", Plain),
        ("xterm-256color", "latin-1", Plain),
    ],
)
def test_a_terminal_gets_the_screen_where_it_can_show_it(monkeypatch, term, encoding, kind):
    monkeypatch.setenv("TERM", term)
    with pseudo_terminal(encoding) as (stream, _):
        assert type(terminal.listener(stream)) is kind


def test_a_pipe_gets_lines_even_where_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    with terminal.listener(out) as listener:
        for _, event in run():
            listener(event)
    assert isinstance(listener, Plain)
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_respected(monkeypatch, no_color):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    with pseudo_terminal() as (stream, arrived), terminal.listener(stream) as listener:
        for _, event in run():
            listener(event)
    text = b"".join(arrived).decode()
    assert "2 stages in 35.2 s, 1 of 2 checks passed" in text
    assert bool(COLOUR.search(text)) is not no_color


def test_nothing_heavy_is_imported():
    heavy = (
        "torch",
        "transformers",
        "trl",
        "peft",
        "datasets",
        "accelerate",
        "numpy",
        "pandas",
        "matplotlib",
    )
    code = f"import sys, ptspec.report.terminal; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
