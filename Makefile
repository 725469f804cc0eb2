# make demo   the CRM with a telephone system, on this machine, in one process
# make test   everything that is checked
# Both need Python 3.11 or newer, and nothing else; the rest is fetched into $(VENV).

VENV ?= .venv
PORT ?= 8000
SANDBOX_PORT ?= 9000
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)

export PORT SANDBOX_PORT

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench chaos wheel clean system

help:
	@echo 'make demo    run the example CRM and the sandbox telephone system (PORT=8000 SANDBOX_PORT=9000)'
	@echo 'make test    lint and every test'
	@echo 'make system  install what the tests need of this machine: browser, servers, an Asterisk (root on Debian)'
	@echo 'make lint    ruff, mypy, and who may import whom'
	@echo 'make bench   figures as JSON lines, each beside a floor measured in the same run'
	@echo 'make chaos   several processes, real servers, everything that can go wrong, for ten minutes (docs/chaos.md)'
	@echo 'make wheel   build the package into dist/'
	@echo 'make clean   remove what these commands made'

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed, and was not found. Name it with: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	echo 'This Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing into $(VENV), about a minute ...'
	@$(PIP) install -e '.[demo]'
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing what the tests need into $(VENV) ...'
	@$(PIP) install -e '.[test,lint]'
	@touch $@

demo: $(VENV)/.demo
	@exec $(BIN)/python manage.py demo

# Chromium for the browser tests, Node for the tests of the browser code, Redis and PostgreSQL for the tests of many
# processes; an Asterisk with phones in a chroot, and SIPp (tests/pbx). Installed where that is allowed (root on Debian).
# Else their tests are skipped, and a CI run fails.
system:
	@has() { command -v "$$1" >/dev/null || ls /usr/lib/postgresql/*/bin/"$$1" >/dev/null 2>&1; }; \
	missing=; \
	for pair in chromium:chromium node:nodejs redis-server:redis-server pg_ctl:postgresql; do \
	  has "$${pair%%:*}" || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing$$missing ..."; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; \
	missing=; \
	for name in chromium node redis-server pg_ctl; do has "$$name" || missing="$$missing $$name"; done; \
	[ -z "$$missing" ] || { echo "Missing on this machine:$$missing. The tests that need them are skipped." >&2; \
	  [ "$$CI" != true ] || { echo 'With CI=true that is a failure.' >&2; exit 1; }; }
	@[ -z '$(PYTHON)' ] || '$(PYTHON)' -m tests.pbx.install

test: system lint
	@$(BIN)/python -m pytest

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_floors.py

bench: $(VENV)/.test
	@$(BIN)/python -m tests.bench

chaos: system $(VENV)/.test
	@$(BIN)/python -m tests.chaos $(CHAOS)

wheel: $(VENV)/.test
	@$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist *.egg-info demo.sqlite3 demo.sqlite3-wal demo.sqlite3-shm staticfiles
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
