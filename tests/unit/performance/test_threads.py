from __future__ import annotations

import os

import pytest

from ptspec.performance.threads import COUNT, POLICY, SPINS, set_spins


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, str(COUNT)), ({SPINS: "7"}, "7"), ({POLICY: "PASSIVE"}, None)],
    ids=["unset", "the user's count", "the user's policy"],
)
def test_threads_spin_as_the_user_says_or_as_measured(given, spins, monkeypatch):
    for name in (SPINS, POLICY):
        monkeypatch.setenv(name, "")  # so that what is set here is unset after it
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    set_spins()
    assert os.environ.get(SPINS) == spins
