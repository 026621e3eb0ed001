# Needs make and Python 3.11, 3.12 or 3.13 with venv. pip takes its index from your own settings.

VENV   ?= .venv
DEMO   ?= demo
JOBS   ?= 2
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null \
	&& echo $$name && break; done)

BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv with the pinned versions (once; takes a few minutes)

demo: $(READY)  ## the whole way on a synthetic cohort: DICOM in, verified release out
	$(BIN)/liverset demo $(DEMO) --expect data_manifest.csv

test: lint  ## lint, then every test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:  ## remove everything that make made
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Without constraints.txt pip takes versions that break Prefect, or trades torch for a build of several GB.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 with venv found; install one, or say PYTHON=..." >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON); this takes a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
