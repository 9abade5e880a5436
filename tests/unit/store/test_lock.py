"""A folder has one writer, with the locks of the kernel or, where there are none, with a file."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WITHOUT = str(ROOT / "tests" / "support" / "without_locks.py")


def program(folder: Path, body: str) -> list[str]:
    code = f"""
        import pathlib, sys
        from ptspec.diagnostics import InputError
        from ptspec.store.lock import lock
        folder = pathlib.Path({str(folder)!r})
        try:
            with lock(folder) as held:
                print("soft" if held.is_soft else "hard", "died" if held.died else "-", flush=True)
                {body}
        except InputError as error:
            print(error.diagnostics[0].message, error.diagnostics[0].hint)
    """
    return ["-c", textwrap.dedent(code)]


@pytest.fixture(params=["hard", "soft"])
def python(request):
    return request.param, [sys.executable, *([WITHOUT] if request.param == "soft" else [])]


def said(python, folder):
    done = subprocess.run(
        [*python, *program(folder, "pass")], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True
    )
    return done.stdout.strip()


def test_a_second_writer_is_reported_who_has_it_and_a_dead_one_does_not_count(python, tmp_path):
    kind, start = python
    waiting = program(tmp_path, "sys.stdin.readline()")
    holder = subprocess.Popen(
        [*start, *waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout.readline().strip() == f"{kind} -"
    second = said(start, tmp_path)
    assert f"is being written by process {holder.pid} on " in second
    assert ("if that process is gone: rm " in second) == (kind == "soft")
    holder.kill()
    holder.wait()
    assert said(start, tmp_path) == f"{kind} died"
    assert said(start, tmp_path) == f"{kind} -"
