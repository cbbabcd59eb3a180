PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= conf/broker.xml
NODES ?= 3
COORDINATION ?= database
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# The tests start many processes: each would compile all its modules where byte code may not be written.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help imports run docs cluster-demo databases test test-slow test-chaos mutants jms check format bench clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## start the broker on conf/broker.xml
	exec $(BIN)/python -m broker --config $(CONFIG)

cluster-demo: $(VENV)/.dev databases ## watch three nodes on a MariaDB of their own, and kill them by a key (NODES=3 COORDINATION=database)
	$(BIN)/python -m tests.support.demo --coordination $(COORDINATION) $(NODES)

databases: ## install the database servers the tests start, as root with apt
	@sh tests/install_databases.sh

test: $(VENV)/.dev databases ## install what the tests need and run them (WORKERS=2)
	$(PYTEST) -m 'not slow'

# These need no process of their own, so that they can run side by side.
COMPUTED := tests/simulation tests/property

test-slow test-chaos: export CORDILLERA_FRESH_BROKERS := 1

test-slow: $(VENV)/.dev databases ## the long tests: kill -9 rounds, large fuzz runs, suites of client libraries
	$(BIN)/python -m pytest -m slow --timeout 1800 $(addprefix --ignore ,$(COMPUTED))
	$(PYTEST) -m slow --timeout 3600 $(COMPUTED)

test-chaos: $(VENV)/.dev databases ## a cluster in chaos, CORDILLERA_CHAOS_SECONDS for each database (300)
	$(BIN)/python -m pytest -m slow tests/cluster/test_chaos.py

jms: $(VENV)/.dev ## run WSO2's and Qpid's clients of JMS against the broker, with Java and Maven (JMS='--help')
	$(BIN)/python -m tests.jms $(JMS)

mutants: $(VENV)/.dev databases ## change the code in small ways, each of which a test must notice (MUTANTS='--help')
	$(BIN)/python -m tests.support.mutants $(MUTANTS)

check: $(VENV)/.dev databases ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m 'not slow'

format: $(VENV)/.dev ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

imports: $(VENV)/.dev ## print the import graph: floors, circles, imports that run up
	$(BIN)/python -m tests.support.imports

bench: $(VENV)/.dev ## measure this broker (BENCH='--help' lists cases and options)
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.dev ## make a site of the documentation, build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove what the targets above have made
	rm -rf $(VENV) build .jms .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
