"""Whatever becomes of a shipped recipe or of its data, `pt validate` ends with 0 or 2: many changes.

    python benchmarks/changed_files.py                  # ten thousand; five minutes of one core
    python benchmarks/changed_files.py --examples 500

The changes and what has to hold are those of tests/property/test_shipped_mutations.py, which tries 400.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEST = "tests/property/test_shipped_mutations.py::test_a_changed_file_is_valid_or_faulty"


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--examples", type=int, default=10_000)
    examples = str(options.parse_args().examples)
    command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", TEST]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PT_EXAMPLES": examples}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
