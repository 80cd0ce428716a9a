# Two commands on a fresh machine: make demo, make test. Everything lands in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo check test cover gpu bench docs clean

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml setup.cfg constraints.txt scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup $(VENV)
	@touch $@

demo: $(STAMP)   ## start a three-agent mesh on this machine and run real work through it
	@$(BIN)/python -m qallow_agent.testing.demo $(PORT)

check: $(STAMP)  ## style, types, layers: fast
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP)   ## every test
	@scripts/interop
	$(BIN)/pytest -q

cover: $(STAMP)  ## every test, and which lines none of them reaches
	$(BIN)/pytest -q --cov --cov-report=term-missing

# An environment of its own: numba-cuda puts 20 ms on every start of Python in its environment.
gpu:             ## compile the CUDA kernels and inspect them; run them where a board is
	@PYTHON="$(PYTHON)" scripts/setup .venv-gpu
	@.venv-gpu/bin/python -m pip install --quiet --constraint constraints.txt -e '.[gpu]'
	@.venv-gpu/bin/pytest -q tests/conformance/kernels

bench: $(STAMP)  ## measure, side by side with peers
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[bench]'
	@$(BIN)/python benchmarks/run.py

docs: $(STAMP)   ## write the generated pages anew
	$(BIN)/python -m qallow_agent.config.reference

clean:           ## remove what was built
	rm -rf $(VENV) .venv-gpu build dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .coverage* htmlcov qallow_agent.egg-info
