# Everything runs from .venv, which these rules make: `make demo`, `make test`, `make check`, `make interop`, `make chaos`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format interop interop-sample chaos bench clean

demo: $(VENV)/.core
	$(BIN)/rmq demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

interop: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/interop $(ARGS)

interop-sample: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/interop -m sample $(ARGS)

chaos: $(VENV)/.dev
	CHAOS_KILLS=$${CHAOS_KILLS:-200} $(BIN)/python -m pytest -q -s tests/faults/test_broker_process.py -k kill_9 $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "CPython 3.11 or later is needed, this is %d.%d: make PYTHON=python3.11 …" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(VENV)/.core $@
