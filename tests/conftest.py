"""A real run of a small recipe on the shipped base, made once and looked at by many tests."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from support.small import ROOT, Finished, SmallRun, run_small

LONGEST_FIRST = (
    *("processes", "worker", "run_faults", "handover", "eval_data", "fresh", "mixed_precision", "matrix_run"),
    *("sharded", "distillation_processes", "resume", "setups", "survival", "games", "performance"),
    *("set_aside", "nash_md_defaults", "distillation", "streamed_stages", "loads", "eval_metrics", "chains"),
    *("first_hour", "taken_over", "merge_run", "plan_and_run", "hub_run", "signals", "memory", "tracking"),
    *("push", "sft_dpo", "evaluation", "reuse", "runs_command", "again", "wheel", "api_run"),
)
"""Files of tests/e2e by the processor time that each takes: a process that begins one last is waited for."""


def pytest_collection_modifyitems(items):
    places = {ROOT / "tests/e2e" / f"test_{name}.py": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    """What is imported by now is no garbage: a run in this process does not look through it, as `pt run` does
    not."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Nor is what libraries made in the first runs: two stages would look through it twelve times."""
    if "torch" in sys.modules and len(gc.get_objects()) > 20_000:
        gc.collect()
        gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="write expected screens and texts as they are now")


@pytest.fixture
def expected(request):
    """The expected text in a file; with --update what the program says now, which is written there: read the
    diff."""

    def read(path: Path, now: str) -> str:
        if request.config.getoption("update"):
            path.write_text(now, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    return read


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


@pytest.fixture(scope="session")
def vllm_url(tmp_path_factory):
    """The address of a vLLM server of the shipped base that takes adapters."""
    from support.vllm_server import BASE, RUNNING, vllm_serving

    if RUNNING is not None:
        yield RUNNING
        return
    with vllm_serving(BASE, tmp_path_factory.mktemp("vllm") / "log") as found:
        yield found.url
