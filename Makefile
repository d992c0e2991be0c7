# `make run` and `make test` work on a fresh machine with Python 3.11 or newer, git and make. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
# Run a command in web/ with the system's Node or, if that is missing or old, with the one from a wheel.
IN_WEB := $(BIN)/python scripts/build_web.py

.PHONY: help run test coverage test-quick check bench fmt web api wheel sbom hooks tools clients clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(RUN_STAMP) web  ## Set up, start, and print the address
	@exec $(BIN)/tertulia serve

ifdef T
test: $(DEV_STAMP) hooks  ## Run everything, or one file or folder: make test T=tests/tools/test_policy.py
	@$(BIN)/python scripts/run_tests.py $(T)
else
test: $(DEV_STAMP) hooks web tools
	@$(BIN)/python scripts/install_test_servers.py
	@$(BIN)/python scripts/generate_clients.py --install
	$(IN_WEB) npx vitest run
	$(BIN)/python scripts/run_tests.py
endif

coverage: $(DEV_STAMP) hooks web tools  ## Run the Python tests and measure branch coverage, which must not fall
	@$(BIN)/python scripts/install_test_servers.py
	@$(BIN)/python scripts/generate_clients.py --install
	$(BIN)/python scripts/run_tests.py --cov

test-quick: $(DEV_STAMP) hooks web  ## Run the web's unit tests and the fast tests on SQLite, in under two minutes
	$(IN_WEB) npx vitest run
	@$(BIN)/python scripts/run_tests.py --quick

check: $(DEV_STAMP) hooks web  ## Check format, lint, types, imports, dependencies, wording and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/python scripts/check_prose.py
	$(IN_WEB) npx biome check .
	$(IN_WEB) npx tsc --noEmit
	$(BIN)/python scripts/check_generated.py

bench: $(DEV_STAMP) web  ## Measure speed
	$(BIN)/python -m bench

fmt: $(DEV_STAMP) web  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(IN_WEB) npx biome check --write .

api: $(DEV_STAMP) web  ## Generate the web's types from the server's OpenAPI document, and the tables of providers
	$(BIN)/python scripts/export_openapi.py
	$(BIN)/python scripts/export_providers.py
	$(IN_WEB) npx openapi-typescript src/api/generated/openapi.json -o src/api/generated/schema.ts

wheel: $(DEV_STAMP)  ## Build the wheel, with the pages inside, into dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

sbom: $(DEV_STAMP) web  ## Write the bills of materials (CycloneDX) of the server and the pages into dist/
	@mkdir -p dist
	@test -x $(VENV)/sbom/bin/cyclonedx-py || { $(PYTHON) -m venv $(VENV)/sbom && \
	  $(VENV)/sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-sbom.lock; }
	@$(VENV)/sbom/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-format JSON -o dist/sbom-server.cdx.json
	@$(IN_WEB) npm sbom --sbom-format cyclonedx --omit dev > dist/sbom-web.cdx.json
	@echo "dist/sbom-server.cdx.json and dist/sbom-web.cdx.json list every dependency with its version."

clients: $(DEV_STAMP)  ## Generate a Python and a TypeScript client from the OpenAPI document into dist/clients/
	@$(BIN)/python scripts/generate_clients.py

hooks:
	@if [ -e .git ]; then git config core.hooksPath .githooks; fi

web: | $(VENV)/bin/python
	@$(BIN)/python scripts/build_web.py

tools:
	@scripts/install_test_tools.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tertulia needs Python 3.11 or newer.")'
	@echo "Creating the virtual environment …"
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

clean:  ## Remove everything that was installed or built
	rm -rf $(VENV) web/node_modules src/tertulia/web dist .mypy_cache .ruff_cache .pytest_cache .coverage
