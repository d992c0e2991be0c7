# `make run` and `make test` work on a fresh machine with Python 3.11+, git and make; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
# A command in web/, with the system's Node or, where that is missing or old, the one from a wheel.
IN_WEB := $(BIN)/python scripts/build_web.py

.PHONY: run test check bench fmt web api tools clean

run: $(RUN_STAMP) web
	@exec $(BIN)/tertulia serve

test: $(DEV_STAMP) web tools
	@$(BIN)/python scripts/install_test_servers.py
	$(IN_WEB) npx vitest run
	$(BIN)/python scripts/run_tests.py

check: $(DEV_STAMP) web
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(IN_WEB) npx biome check .
	$(IN_WEB) npx tsc --noEmit
	$(BIN)/python scripts/check_generated.py

bench: $(DEV_STAMP) web
	$(BIN)/python -m bench

fmt: $(DEV_STAMP) web
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(IN_WEB) npx biome check --write .

# The web's types, from the server's own document.
api: $(DEV_STAMP) web
	$(BIN)/python scripts/export_openapi.py
	$(IN_WEB) npx openapi-typescript src/api/generated/openapi.json -o src/api/generated/schema.ts

web: | $(VENV)/bin/python
	@$(BIN)/python scripts/build_web.py

tools:
	@scripts/install_test_tools.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tertulia needs Python 3.11 or newer.")'
	@echo "Making the virtual environment …"
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Tertulia needs (a minute, once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests need (a minute or two, once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(RUN_STAMP)

clean:
	rm -rf $(VENV) web/node_modules src/tertulia/web .mypy_cache .ruff_cache .pytest_cache
