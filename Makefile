# make         installs what is missing, into .venv
# make run     the same, then runs the daemon; its state is in .state (CARDD_STATE_DIR overrides)
# make test    unit, integration and end-to-end tests, without the slow proofs
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := install
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PEERS := $(VENV)/peers
# Further arguments of `make bench`, such as BENCH="--case sign/* --rounds 3".
BENCH ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
PIP_COMPILE_PROJECT := $(PIP_COMPILE) --build-deps-for editable
SIDE_BY_SIDE := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope
export CARDD_STATE_DIR ?= $(CURDIR)/.state

.PHONY: install run test test-slow test-all lint format bench bench-docs bench-check bench-packages docs images wheel sbom lock clean system-packages test-packages dev

install: $(INSTALLED)
dev: $(INSTALLED_DEV)

system-packages:
	@scripts/system-packages.sh

$(BIN)/python: | system-packages
	@echo "Making the virtual environment in $(VENV)" >&2
	@python=$$(scripts/python.sh) && "$$python" -m venv $(VENV)

$(INSTALLED): requirements.lock pyproject.toml | system-packages $(BIN)/python
	@echo "Installing the packages of requirements.lock into $(VENV)" >&2
	@$(PIP_INSTALL) --require-hashes --requirement requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

test-packages:
	@scripts/system-packages.sh --with-tests

$(INSTALLED_DEV): requirements-dev.lock $(INSTALLED) | test-packages
	@echo "Installing the tools of requirements-dev.lock into $(VENV)" >&2
	@$(PIP_INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

run: install
	@exec $(BIN)/cardd run

test: dev
	$(SIDE_BY_SIDE) -m "not slow"

test-slow: dev
	$(SIDE_BY_SIDE) -m slow

test-all: dev
	$(SIDE_BY_SIDE)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/configuration_reference.py --check
	$(BIN)/python scripts/licences.py --check
	$(BIN)/python scripts/check_readme.py
	$(BIN)/python scripts/audit_dependencies.py

format: dev
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

# What is measured beside us is installed apart, so that it never decides what the project installs.
$(PEERS)/.installed: bench/peers/requirements.lock | $(BIN)/python
	@echo "Installing the peers of bench/peers/requirements.lock into $(PEERS)" >&2
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement bench/peers/requirements.lock
	@touch $@

bench-packages:
	@scripts/system-packages.sh --with-tests --with-bench

bench: dev bench-packages $(PEERS)/.installed
	$(BIN)/python -m bench --peers $(PEERS)/bin/python $(BENCH)

bench-docs: dev bench-packages $(PEERS)/.installed
	$(BIN)/python -m bench --peers $(PEERS)/bin/python --json $(BENCH) >$(VENV)/bench.json
	$(BIN)/python -m bench.page $(VENV)/bench.json

bench-check: dev bench-packages $(PEERS)/.installed
	$(BIN)/python -m bench --peers $(PEERS)/bin/python --json $(BENCH) >$(VENV)/bench-check.json
	$(BIN)/python -m bench.check $(VENV)/bench-check.json

docs: dev
	$(BIN)/python scripts/configuration_reference.py
	$(BIN)/python scripts/licences.py

# The same bytes for the same commit: the time in the wheel is that of the commit.
wheel: dev
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --wheel --no-isolation --outdir dist .

sbom: dev
	@mkdir -p dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements \
		--pyproject pyproject.toml --output-reproducible --spec-version 1.6 --output-file dist/cardd.cdx.json requirements.lock

images: dev
	$(BIN)/python -m scripts.screenshots

lock: dev
	$(PIP_COMPILE_PROJECT) --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE_PROJECT) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) --output-file bench/peers/requirements.lock bench/peers/requirements.in

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
