# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
DEMO ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-fast lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## virtual environment with detbox and the development tools

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 10) <= v[:2] < (3, 14) else f"detbox needs Python 3.10 to 3.13, got {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## train the default job on the embedded data, evaluate, leave pictures
	$(BIN)/python tools/train.py experiment=quickstart hydra.run.dir=$(RUNS)/demo $(DEMO)
	$(BIN)/python tools/evaluate.py ckpt=$(RUNS)/demo/checkpoints/best.ckpt hydra.run.dir=$(RUNS)/demo/evaluation
	$(BIN)/python tools/predict.py ckpt=$(RUNS)/demo/checkpoints/best.ckpt hydra.run.dir=$(RUNS)/demo/pictures

test: $(READY) lint ## formatting, lint, types and the whole test suite
	$(BIN)/python -m pytest -q

test-fast: $(READY) ## the tests that take less than a few seconds each
	$(BIN)/python -m pytest -q -m 'not slow'

lint: $(READY) ## ruff format, ruff check, mypy
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy

format: $(READY) ## format and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the virtual environment, caches and builds; runs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
