# hyperskin: `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Everything stays inside the working tree; one thread per process, two processes for tests.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export OMP_NUM_THREADS := 1
export DVC_SITE_CACHE_DIR := $(CURDIR)/.cache/dvc
export PREFECT_HOME := $(CURDIR)/.prefect
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
WORKERS ?= 2

.PHONY: help setup demo test test-fast test-slow bench fmt lint types layers lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup: $(BIN)/.ready  ## .venv with exactly the locked versions; nothing outside this folder

$(BIN)/.ready: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing what requirements.lock names; this takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@mkdir -p mlruns data .cache .dvc/cache; chmod 700 mlruns data .cache .dvc/cache  # pictures of people lie here
	@test -e mlflow.db || test -L mlflow.db || ln -s mlruns/mlflow.db mlflow.db
	@touch $@

demo: setup  ## everything on people made by the computer: data, training, table, picture; minutes
	@$(BIN)/hyperskin demo

test: setup lint types layers test-fast  ## lint, types, layers and the fast tests

test-fast: setup  ## the fast tests alone
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "not slow"

test-slow: setup  ## the tests that take long
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m slow

bench: setup  ## ratios against the peers, measured side by side
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

fmt: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

lint: setup  ## style and common mistakes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup  ## mypy, strict
	$(BIN)/mypy

layers: setup  ## who may import whom
	$(BIN)/lint-imports

lock: setup  ## write requirements.lock from what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock

clean:  ## remove the environment and caches; data, runs and parameters stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .import_linter_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
