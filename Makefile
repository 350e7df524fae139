# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
DEMO ?=
WORKERS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OPS := $(VENV)/.ops
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup ops demo test test-fast test-gpu lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) $(OPS) ## virtual environment with detbox, its compiled op and the development tools

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 10) <= v[:2] < (3, 14) else f"detbox needs Python 3.10 to 3.13, got {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

ops: $(OPS) ## build the compiled op with the compilers that are here, and list all backends
	$(BIN)/python -m detbox.ops

$(OPS): $(READY) $(wildcard ops/*.* ops/csrc/*.h ops/csrc/*/* ops/detbox_ops/*.py)
	$(PIP) install --quiet ./ops
	@touch $@

demo: setup ## train the default job on the embedded data, evaluate, leave pictures
	$(BIN)/python tools/train.py experiment=quickstart hydra.run.dir=$(RUNS)/demo resume=auto $(DEMO)
	$(BIN)/python tools/evaluate.py ckpt=$(RUNS)/demo/checkpoints/best.ckpt hydra.run.dir=$(RUNS)/demo/evaluation
	$(BIN)/python tools/predict.py ckpt=$(RUNS)/demo/checkpoints/best.ckpt hydra.run.dir=$(RUNS)/demo/pictures

test: setup lint ## formatting, lint, types and the whole test suite (WORKERS=N processes)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

test-fast: setup ## the tests that take less than a few seconds each
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m 'not slow'

test-gpu: setup ## the tests that need an NVIDIA or Apple GPU
	$(BIN)/python -m pytest -q -m gpu

lint: $(READY) ## ruff format, ruff check, mypy
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy

format: $(READY) ## format and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the virtual environment, caches and builds; runs stay
	rm -rf $(VENV) build dist *.egg-info ops/build ops/*.egg-info .pytest_cache .ruff_cache .mypy_cache
