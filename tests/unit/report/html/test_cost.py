"""What a report of a large run costs: CPU time, so that a busy machine does not decide, memory and size."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from support.report_pages import measurement

from ptspec.evaluation.comparison_store import save_comparison
from ptspec.evaluation.paired.compare import compare

pytestmark = pytest.mark.slow

PROGRAM = """
import json, re, resource, sys
from pathlib import Path
from ptspec.report.html.write import write_run_report
path = write_run_report(Path(sys.argv[1]))
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with that of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([used.ru_utime + used.ru_stime, peak, path.stat().st_size]))
"""


def cost(run):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(run)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(told.stdout)


def test_a_million_logged_steps(made):
    """B12: 61 s and 1.6 GB before; 5 s are wanted on an idle machine."""
    folder = made.stage("sft", "sft", None, steps=[])
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, 1_000_001):
            file.write(f'{{"step": {step}, "loss": {1 / step!r}, "grad_norm": {step / 7!r}}}\n')
    made.start()
    seconds, memory, size = cost(made.write())
    assert seconds < 20 and memory < 300_000_000 and size < 1_000_000


def test_a_hundred_stages(made):
    """B11: 50 s and 3.4 MB before."""
    base = replace(measurement("base", 160), fingerprint="b")
    made.base(base)
    like = replace(measurement("x", 160, better=0.3, reference="base"), fingerprint="x")
    found = compare([base, like])
    for index in range(100):
        folder = made.stage(f"s{index}", "sft", replace(like, fingerprint=f"{index}"))
        save_comparison(folder, replace(found, fingerprints=("b", f"{index}")))
    made.start()
    seconds, _, size = cost(made.write())
    assert seconds < 25 and size < 3_000_000


def test_ten_thousand_held_out_rows_of_three_policies(made):
    """B12: 117 s before; 15 s and 500 MB are wanted."""
    policies = [("base", None), ("sft", "base"), ("dpo", "sft")]
    measured = {name: measurement(name, 50, reference=before) for name, before in policies}
    for name, before in policies:
        rows = measured[name].rows * 200
        many = tuple(replace(row, id=str(i), prompt=f"{row.prompt} {i}") for i, row in enumerate(rows))
        whole = replace(measured[name], rows=many, fingerprint=name)
        if before is None:
            made.base(whole)
            continue
        folder = made.stage(name, name, whole, parent=before)
        found = compare([measured[before], measured[name]])
        save_comparison(folder, replace(found, fingerprints=(before, name)))
    made.start()
    seconds, memory, size = cost(made.write())
    assert seconds < 45 and memory < 500_000_000 and size < 3_000_000
