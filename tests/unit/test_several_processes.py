"""What several processes agree on: two of them, with torch alone."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.small import two_ranks

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.launch import several
from ptspec.processes import Agreed, Processes, current, join, leave


def test_one_process_agrees_with_itself():
    team = current()
    assert team.alone and team.is_first
    assert (team.gathered(3), team.of_first(4), team.any(False), team.by_first(lambda: 5)) == (
        [3],
        4,
        False,
        5,
    )
    team.agree(None)


class Looked(several.Left):
    """Tells `then` how often it was looked whether a process is silent, before each look."""

    def __init__(self, folder, then):
        super().__init__(folder)
        object.__setattr__(self, "then", then)
        object.__setattr__(self, "looks", itertools.count())

    def silent(self):
        self.then(next(self.looks))
        return super().silent()


@pytest.mark.parametrize("wakes", [True, False], ids=["wakes", "hangs"])
def test_only_a_process_that_stays_silent_hangs(tmp_path, monkeypatch, wakes):
    """A machine that has slept finds every sign of life old, until the next one."""
    monkeypatch.setattr(several, "BEAT", 0.01)
    alive, looked = tmp_path / "0.alive", threading.Event()

    def then(looks):
        if wakes and looks == several.LOOKS - 1:
            os.utime(alive)
        if looks == 2 * several.LOOKS:
            looked.set()

    with subprocess.Popen(["sleep", "600"]) as process:
        alive.write_text(str(process.pid))
        os.utime(alive, (1, 1))
        with several.ending_silent_ones(Looked(tmp_path, then)) as silent:
            assert looked.wait(60) if wakes else process.wait(60) == -signal.SIGKILL
        assert silent == ([] if wakes else [0])
        assert (process.poll() is None) == wakes
        process.kill()


def test_a_process_that_was_killed_is_gone_before_anyone_has_waited_for_it():
    here = socket.gethostname()
    with subprocess.Popen(["sleep", "60"]) as process:
        team = Processes(0, 2, None, ((here, os.getpid()), (here, process.pid)))
        elsewhere = replace(team, ids=((here, os.getpid()), ("elsewhere", process.pid)))
        assert team.gone() is None
        process.kill()
        until = time.monotonic() + 60
        while team.gone() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert (team.gone(), elsewhere.gone()) == (1, None)


def test_two_processes_agree(tmp_path):
    """Forks of a process that has torch: what starts them has no part in what they say to each other."""
    for process in two_ranks(tmp_path, main=agree):
        assert process.wait(120) == 0, process.told
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first.pop("mine") == [0, 2] and second.pop("mine") == [1, 2]
    assert first == second
    assert first == {
        "gathered": [0, 10],
        "of_first": 0,
        "any": [True, False],
        "by_first": "made by 0",
        "failed by the first": ["InputError", "oh 0"],
        "failed by the second": ["StageError", "oh 1"],
        "agreed": ["Agreed", "rows of 1"],
        "of both": ["Agreed", "rows of 0"],
    }


def said(work):
    try:
        work()
    except (StageError, InputError) as error:
        return [type(error).__name__, error.diagnostics[0].message]
    return None


def agree(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0])
    team = join(timedelta(seconds=60))
    at = team.index

    def fail():
        raise InputError(Diagnostic("x", f"oh {at}"))

    def fail_in_second():
        with team.agreed():
            if at == 1:
                raise StageError(Diagnostic("x", "oh 1"))

    def tell(only, ahead):
        return lambda: team.agree(Diagnostic("x", f"rows of {at}") if at in only else None, first=at in ahead)

    found = {
        "mine": [team.index, team.size],
        "gathered": team.gathered(10 * at),
        "of_first": team.of_first(at),
        "any": [team.any(at == 1), team.any(False)],
        "by_first": team.by_first(lambda: f"made by {at}"),
        "failed by the first": said(lambda: team.by_first(fail)),
        "failed by the second": said(fail_in_second),
        "agreed": said(tell({0, 1}, {1})),
        "of both": said(tell({0, 1}, {0, 1})),
    }
    (folder / f"{at}.json").write_text(json.dumps(found))
    assert isinstance(Agreed(Diagnostic("x", "y")), StageError)
    leave()
    assert current().alone
