"""The pictures in docs/images of a run of recipes/sft_dpo.json: its report, and base, sft and dpo compared.

    python benchmarks/pictures.py outputs/sft_dpo

Needs chromium on the path.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ptspec.evaluation import plots
from ptspec.evaluation.store import load_measurement
from ptspec.report.html.write import write_run_report

IMAGES = Path(__file__).parent.parent / "docs/images"
SIZE = (1160, 1500)
COLOURS = 64


def page(report: Path, picture: Path) -> None:
    """The top of the page at `report`, with few colours, which halves the file."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("pictures.py needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"]
        command = [chromium, *options, f"--screenshot={shot}", report.absolute().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    page(write_run_report(run), IMAGES / "report.png")
    measured = [replace(load_measurement(run / name), name=name) for name in ("base", "sft", "dpo")]
    plots.model_comparison(measured, IMAGES / "model_comparison.png")


if __name__ == "__main__":
    main()
