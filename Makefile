# Needs Python 3.11 or newer and make; everything else is installed into .venv.
#   make demo      train some models and see them in the dashboard
#   make test      the test suite, without the fault and framework tests
#   make PYTHON=python3.12 test   with another Python
.DEFAULT_GOAL := help
.PHONY: help demo test clean

PYTHON ?= python3
VENV := .venv
DASHBOARD := hatch_build.py web/package-lock.json $(wildcard web/src/*.* web/src/*/*.*)
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

help:
	@echo 'make demo   train some models and see them in the dashboard'
	@echo 'make test   run the tests'
	@echo 'make clean  remove what these made'

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest --ignore=tests/faults --ignore=tests/api --ignore=tests/frameworks --ignore=tests/browser --ignore=tests/mlflow --ignore=tests/mlflow_sink

clean:
	rm -rf $(VENV) .nox build dist site

# The stamps make a second call quick; a changed pyproject.toml or dashboard installs again.
$(VENV)/.demo: pyproject.toml $(DASHBOARD) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[demo,server]'
	@touch $@

$(VENV)/.test: pyproject.toml $(DASHBOARD) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[server]' --group test
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON) on this machine: install Python 3.11 or newer, or name one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),demo)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("trackkit needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),demo)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@
