"""What a run imports is not looked through for garbage; what somebody else has in the process is."""

from __future__ import annotations

import gc
import subprocess
import sys

from small import ROOT

from ptspec.library_imports import importing_libraries

FIRST = """
import gc
from ptspec.library_imports import importing_libraries
assert gc.get_freeze_count() == 0
with importing_libraries():
    assert not gc.isenabled()
    import ast
print(gc.get_freeze_count() > 1_000, gc.isenabled())
"""


def test_the_first_import_of_a_process_is_frozen():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_process_that_has_torch_keeps_its_objects():
    import torch  # noqa: F401

    before = gc.get_freeze_count()
    with importing_libraries():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
