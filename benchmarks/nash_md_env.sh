#!/bin/sh
# Makes the environment of TRL 1.13.0, the last with a Nash-MD trainer, for benchmarks/nash_md.py.
set -eu
folder="${1:-build/trl-1.13.0}"
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet "torch==2.13.0" "transformers==5.0.0" "peft==0.18.1" "accelerate==1.12.0" "trl==1.13.0" requests
"$folder/bin/python" -c "import trl, transformers; print('trl', trl.__version__, 'transformers', transformers.__version__)"
