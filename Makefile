# make demo: set up, train and evaluate a tiny policy, write a report.   make test: set up, check everything.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OPENPI := build/openpi

.PHONY: demo test lint lock clean

demo: $(STAMP)
	$(BIN)/thinkvla demo

test: $(STAMP) $(OPENPI)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=thinkvla --cov-report=term:skip-covered
	$(BIN)/coverage report --include="src/thinkvla/method/*" --fail-under=100

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml requirements.lock scripts/system_libraries.sh
	sh scripts/system_libraries.sh $(PYTHON)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# openpi's client as robots have it: with NumPy 1, so in an environment of its own.
$(OPENPI): tests/serve/openpi_client.lock
	rm -rf $@ && $(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# The exact versions of everything, from the ranges in pyproject.toml.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[dev]'
	build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf $(VENV) build runs data
