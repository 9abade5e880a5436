"""What a run imports is not looked through for garbage; what somebody else has in the process is."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import pytest
from support.small import ROOT

from ptspec.library_imports import _later, importing_libraries

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


COMPILED = """
import sys
from ptspec.library_imports import importing_libraries
with importing_libraries():
    import peft, torch
print("bitsandbytes" in sys.modules, "torch._inductor.compile_fx" in sys.modules, torch.compile.__module__)
"""


def test_no_compiler_is_imported_with_peft():
    pytest.importorskip("bitsandbytes")
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["True", "False", "torch"]


def test_a_function_is_compiled_at_its_first_call():
    import torch

    said: list[object] = []

    def compiled(model: Any, **options: Any) -> Any:
        said.append(options)
        return lambda *given, **named: ("compiled", model(*given, **named))

    decorate = _later(compiled)

    @decorate
    def plain(x: int) -> int:
        return x + 1

    @decorate(dynamic=False)
    def named(x: int, y: int) -> int:
        return x + y

    assert said == []
    assert (plain(1), plain(2), named(1, y=2)) == (("compiled", 2), ("compiled", 3), ("compiled", 3))
    assert said == [{}, {"dynamic": False}]
    assert plain.__name__ == "plain"
    module = torch.nn.Linear(1, 1)
    decorate(module, dynamic=True)
    assert said[2:] == [{"dynamic": True}]  # at once: what is asked of a module is asked of the compiled one
