# Two commands: `make demo` installs and runs the first recipe, `make test` installs and runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Each test runs on one thread; files go to as many processes as there are cores, up to four, the long ones first.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Environments for what optional packages bring; they borrow the packages of the first, torch among them.
EXTRAS := $(VENV)-extras
ENGINES := $(VENV)-engines
VLLM := $(VENV)-vllm

.PHONY: demo test test-extras test-engines check bench schemas docs clean

demo: $(VENV)/.installed
	$(BIN)/pt run recipes/sft_dpo.json

test: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

# What `make test` skips: lm-eval and MLflow.
test-extras: $(EXTRAS)/.installed
	$(EXTRAS)/bin/python -m pytest $(PARALLEL) tests/e2e/test_lm_eval.py tests/e2e/test_tracking.py

# DeepSpeed, Ray and vLLM, 2 GB and most of an hour: one after the other, since each starts processes of its own.
test-engines: $(ENGINES)/.installed $(VLLM)/bin/vllm
	$(ENGINES)/bin/python -m pytest tests/e2e/test_deepspeed.py tests/e2e/test_ray.py
	PT_VLLM=$(CURDIR)/$(VLLM)/bin/vllm $(BIN)/python -m pytest tests/e2e/test_vllm_answers.py \
	  tests/e2e/test_vllm_client.py tests/e2e/test_vllm_generation.py

check: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

# What benchmarks/RESULTS.md tells that needs nothing but this installation; an idle machine, an hour.
bench: $(VENV)/.installed-test
	test -d outputs/sft_dpo/dpo || $(BIN)/pt run recipes/sft_dpo.json
	$(BIN)/python benchmarks/validate.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/handover.py --only ptspec trl --repeats 5
	$(BIN)/python benchmarks/threads.py
	$(BIN)/python benchmarks/online_step.py
	$(BIN)/python benchmarks/pass_cost.py
	$(BIN)/python benchmarks/tokenising.py
	$(BIN)/python benchmarks/growth.py --run outputs/sft_dpo
	$(BIN)/python benchmarks/report.py outputs/sft_dpo

schemas: $(VENV)/.installed
	$(BIN)/python -m ptspec.schemagen

# The user guide, into build/docs; a warning is an error. `python3 -m http.server -d build/docs` shows it.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "python3 has no venv here; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# torch first and by itself: a resolver that meets its whole range takes the newest build, gigabytes larger.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install $$(grep '^torch==' constraints.txt)
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(EXTRAS)/.installed: $(VENV)/.installed-test
	$(BIN)/python benchmarks/borrowed_env.py $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test-extras]'
	@touch $@

# DeepSpeed's package of its own build compiles nothing here: docs/scaling.md.
$(ENGINES)/.installed: $(VENV)/.installed-test
	$(BIN)/python benchmarks/borrowed_env.py $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]' \
	  wheel setuptools ninja hjson msgpack py-cpuinfo einops psutil pydantic
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation "deepspeed>=0.19.6,<0.20"
	@touch $@

$(VLLM)/bin/vllm: $(VENV)/.installed-test
	$(BIN)/python benchmarks/vllm_env.py $(VLLM)

clean:
	rm -rf $(VENV) $(EXTRAS) $(ENGINES) $(VLLM) .mypy_cache .pytest_cache .ruff_cache
