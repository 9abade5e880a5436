"""Patterns of the user's have a time limit: no completion hangs a run."""

import gc
import os
import signal
import threading
import time

import pytest

from ptspec.rewards.builtin import builtin
from ptspec.rewards.checked import checked_reward
from ptspec.rewards.time_limit import TimedScore

SLOW = {"pattern": "(a+)+b"}
HARD = "a" * 40
"""Hours for SLOW: the time doubles with each letter."""


def test_a_completion_that_takes_too_long_has_no_say_and_the_next_one_has():
    told = []
    score = TimedScore("regex", SLOW, told.append, seconds=0.3)
    start = time.monotonic()
    assert [score(text, "") for text in ("aab", HARD, "aab", HARD, "aa")] == [1.0, None, 1.0, None, 0.0]
    assert time.monotonic() - start < 20
    (warning,) = told
    assert '"(a+)+b"' in warning and "after 0.3 s" in warning and "None" in warning


def test_a_pattern_in_a_json_schema_has_the_limit_too():
    score = TimedScore("json_schema", {"schema": {"pattern": "^(a+)+b"}}, [].append, seconds=0.5)
    assert [score('"ab"', ""), score(f'"{HARD}"', ""), score("{", "")] == [1.0, None, 0.0]


def test_the_warning_reaches_a_caller_builds_the_reward():
    told = []
    reward = checked_reward(builtin("regex", SLOW, warn=told.append))
    assert reward(["q", "q"], ["aab", HARD]) == [1.0, None]
    assert len(told) == 1


def test_it_works_outside_the_main_thread():
    scores = []
    score = TimedScore("regex", SLOW, [].append, seconds=0.3)
    thread = threading.Thread(target=lambda: scores.extend([score(HARD, ""), score("ab", "")]))
    thread.start()
    thread.join(30)
    assert scores == [None, 1.0]


def test_any_text_goes_through_the_pipe_as_it_is():
    for text in ("\ud800", "a\nb", "\x00\u2028", "é", "\\n", ""):
        assert TimedScore("regex", {"pattern": "(?s).*"})(text, "") == 1.0
    assert TimedScore("regex", {"pattern": "a\nb"})("a\nb", "") == 1.0


def test_an_interrupt_of_the_group_does_not_end_it():
    score = TimedScore("regex", {"pattern": "a"})
    assert score("a", "") == 1.0
    for request in (signal.SIGINT, signal.SIGTERM):
        os.kill(score._process.pid, request)
    assert score("a", "") == 1.0


def test_the_process_ends_with_the_reward():
    score = TimedScore("regex", {"pattern": "a"})
    score("a", "")
    process = score._process
    assert process.poll() is None
    del score
    gc.collect()
    assert process.poll() is not None


def test_a_module_in_the_working_directory_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert TimedScore("regex", {"pattern": "a"})("a", "") == 1.0


def test_a_process_that_cannot_start_is_reported(monkeypatch):
    monkeypatch.setattr("sys.path", ["/nowhere"])
    with pytest.raises(RuntimeError, match="did not start"):
        TimedScore("regex", {"pattern": "a"})("a", "")
