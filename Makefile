# Two commands are all a newcomer needs: `make demo` and `make test`. Both make their own .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_ENV := env PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help demo up test lint bench setup clean

help: ## List what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/ready ## Watch Weir work on a fictional company
	@$(BIN)/weir demo $(ARGS)

up: $(VENV)/ready ## Run everything on this machine
	@$(BIN)/weir up $(ARGS)

test: $(VENV)/ready-dev lint ## Lint, types, and every test on real parts
	$(RUN_ENV) $(BIN)/pytest -n 3 --dist worksteal $(ARGS)

lint: $(VENV)/ready-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready-dev ## Speed as ratios against a baseline in the same run
	$(BIN)/python -m tests.bench

setup: $(VENV)/ready-dev ## Install everything, tests' needs included

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Weir needs Python 3.11 or later; try make PYTHON=python3.12")'
	@echo "Installing into $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

clean: ## Forget the environment and the demo's data
	rm -rf $(VENV) .weir
