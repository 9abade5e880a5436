"""A real run of a small recipe on the shipped base, made once and looked at by many tests."""

from __future__ import annotations

import gc

import pytest
from small import Finished, SmallRun, run_small


def pytest_collection_finish():
    """What is imported by now is no garbage: a run in this process does not look through it, as `pt run` does
    not."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> SmallRun:
    """SFT then DPO, a few steps each; tests only read it."""
    run = run_small(tmp_path_factory.mktemp("small"))
    assert run.done.code == 0, run.done.stderr
    return run


@pytest.fixture
def one_thread():
    """torch on one thread, which for tiny models is as fast, while a test lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def here(capsys):
    """`pt` in this process, which is quicker: for what loads no model."""

    def run(*arguments: object) -> Finished:
        from ptspec import cli

        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert "error[bug]" not in told.err
        return Finished(int(ended.value.code or 0), told.out, told.err)

    return run
