"""What a run's report costs at sizes that hurt: seconds, peak memory, size of the file.

    python benchmarks/report.py outputs/sft_dpo [--keep DIR] [--checkout DIR]

The run is one of recipes/sft_dpo.json; the large ones are made from it by benchmarks/synthetic_run.py and
are kept in DIR. Each report is written by a process of its own. Wanted, on an idle machine:

    1,000,000 logged steps               5 s
    100 stages of 160 rows               5 s      3 MB
    10,000 held-out rows x 3 policies   15 s    500 MB of memory
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from synthetic_run import many_rows, many_stages, many_steps

ROOT = Path(__file__).parent.parent

PROGRAM = """
import json, re, resource, sys, time
begun = time.perf_counter()
from pathlib import Path
from ptspec.report.html.write import write_run_report
path = write_run_report(Path(sys.argv[1]))
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with that of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({"seconds": time.perf_counter() - begun, "cpu": used.ru_utime + used.ru_stime,
                  "memory": peak, "size": path.stat().st_size}))
"""

SIZES: dict[str, Callable[[Path, Path], Path]] = {
    "as it is": lambda run, output: run,
    "1,000,000 logged steps": lambda run, output: many_steps(run, output, 1_000_000),
    "12 stages": lambda run, output: many_stages(run, output, 12),
    "100 stages": lambda run, output: many_stages(run, output, 100),
    "10,000 held-out rows": lambda run, output: many_rows(run, output, 10_000),
}


def cost(run: Path, checkout: Path) -> dict[str, float]:
    """Of the report of `run` by the ptspec in `checkout`, in a process of its own with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run)], check=True, capture_output=True, text=True, env=environment
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keep", type=Path, help="where the large runs are made, or were made before")
    parser.add_argument("--only", choices=SIZES, help="one of the sizes")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="of ptspec, such as an older one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        keep = given.keep or Path(passing)
        keep.mkdir(parents=True, exist_ok=True)
        print(f"{'':24} {'seconds':>8} {'CPU':>8} {'memory':>9} {'file':>9}")
        for name, make in SIZES.items():
            if given.only and name != given.only:
                continue
            folder = keep / name.replace(" ", "_").replace(",", "")
            run = folder if folder.exists() else make(given.run, folder)
            found = cost(run, given.checkout)
            print(
                f"{name:24} {found['seconds']:8.1f} {found['cpu']:8.1f} "
                f"{found['memory'] / 1e6:6.0f} MB {found['size'] / 1e6:6.2f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
