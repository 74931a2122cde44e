# Two commands are all a newcomer needs: `make demo` and `make test`. Both make their own .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED = $(or $(WEIR_TEST_SEED),$(DRAWN))
DRAWN := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
RUN_ENV := env PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help demo up test long draws chaos cluster lint audit bench setup clean chromium

help: ## List what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/ready ## Watch Weir work on a fictional company
	@$(BIN)/weir demo $(ARGS)

up: $(VENV)/ready ## Run everything on this machine
	@$(BIN)/weir up $(ARGS)

test: $(VENV)/ready-dev lint chromium ## Lint, types, and every test on real parts
	$(RUN_ENV) $(BIN)/pytest -n 3 --dist worksteal --durations 20 $(ARGS)

long: $(VENV)/ready-dev chromium ## The tests that `make test` leaves out for their length
	$(RUN_ENV) $(BIN)/pytest -m long $(ARGS)

draws: $(VENV)/ready-dev ## What the tests leave to chance, drawn anew and more of it; WEIR_TEST_SEED repeats
	$(RUN_ENV) WEIR_TEST_LAWS=anew WEIR_TEST_SEED=$(SEED) WEIR_TEST_CRASHES=$${WEIR_TEST_CRASHES:-60} \
	  $(BIN)/pytest -n 3 --dist worksteal --timeout 900 --hypothesis-seed $(SEED) \
	  -m "(hypothesis or drawn) and not long" $(ARGS)

chaos: $(VENV)/ready-dev ## Ten minutes in which everything dies and fails; WEIR_TEST_SEED repeats
	$(RUN_ENV) WEIR_TEST_SEED=$(SEED) WEIR_CHAOS_MINUTES=$${WEIR_CHAOS_MINUTES:-10} WEIR_TEST_BILLS=$${WEIR_TEST_BILLS:-400} \
	  $(BIN)/pytest -s tests/cluster/test_chaos.py $(ARGS)

cluster: $(VENV)/ready-dev ## A sync of 5,000 bills while each of three brokers dies or is cut off
	$(RUN_ENV) WEIR_TEST_BILLS=$${WEIR_TEST_BILLS:-5000} $(BIN)/pytest -s tests/cluster/test_cluster.py $(ARGS)

lint: $(VENV)/ready-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/ready-dev ## Known vulnerabilities of what we use (asks PyPI), and of our own code
	$(BIN)/pip-audit --strict --vulnerability-service $(or $(SERVICE),pypi) --disable-pip --no-deps -r constraints.txt
	$(RUN_ENV) $(BIN)/pytest -q tests/test_audit.py

chromium: # The browser of the tests, installed where it is missing and can be
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || command -v chromium-browser >/dev/null || { \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	  else \
	    echo "The tests need Chromium: install the package chromium, or set CHROMIUM to a Chrome or Chromium" >&2; exit 1; \
	  fi; }

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
