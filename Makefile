# One command to run, one to test: `make run`, `make test`.  PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
# What pytest is told besides, for instance TESTS="--ignore tests/interop".
TESTS ?=
BIN = $(VENV)/bin

.PHONY: run test check format lint types coverage fuzz bench docs conformance clients-page wheel requirements clean

run: $(VENV)/.run
	$(BIN)/restante demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTS)

check: lint types coverage

lint: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/mypy

# All tests, and every branch of protocol/ taken by them.
coverage: $(VENV)/.dev
	$(BIN)/python -m coverage run -m pytest $(TESTS)
	$(BIN)/python -m coverage report --include='src/restante/protocol/*' --fail-under=100

# Fuzzes for FUZZ_SECONDS, a third of it for each target; what fails, and what is worth keeping, is in build/fuzz.
FUZZ_SECONDS ?= 3600

fuzz: $(VENV)/.fuzz
	@for target in session sasl mail; do \
		$(BIN)/python -m tests.fuzz $$target --seconds $$(( $(FUZZ_SECONDS) / 3 )) || exit 1; \
	done

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Beside the servers of others, which are installed or unpacked into build/ where that is possible.
bench: $(VENV)/.dev
	bench/install $(BIN)/python
	$(BIN)/python -m bench

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs
	@echo "build/docs/index.html"

# The table of rules and the tests that prove them.
conformance: $(VENV)/.dev
	$(BIN)/python -m tests.conformance

# Tries the clients that .ci/run installs, and writes down what they did.
clients-page: $(VENV)/.dev
	CLIENTS=all $(BIN)/python -m pytest tests/interop --clients-page docs/reference/clients.md

wheel: $(VENV)/.dev
	$(BIN)/python -m hatchling build -t wheel

# Pins anew, with hashes and without the address of any index; needs pip-tools on the PATH.
requirements:
	pip-compile $(PIN) --extra client -o requirements.txt pyproject.toml
	pip-compile $(PIN) --extra dev -o requirements-dev.txt pyproject.toml
	pip-compile $(PIN) --extra docs -o requirements-docs.txt pyproject.toml
	printf 'getmail6\nsslyze\nTwisted[tls]\n' | \
		pip-compile $(filter-out --build-deps-for editable,$(PIN)) - -o requirements-clients.txt
PIN = -q -U --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--strip-extras --allow-unsafe --build-deps-for editable

clean:
	rm -rf .venv* build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Restante needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-fuzz.txt
	touch $@

$(VENV)/.docs: requirements-docs.txt $(VENV)/.run
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-docs.txt
	touch $@
