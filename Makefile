# make demo: set up, train and evaluate a tiny policy, write a report.   make test: set up, check everything.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OPENPI := build/openpi

.PHONY: demo test lint lock clean plugin-test python312 simulator-test

demo: $(STAMP)
	$(BIN)/thinkvla demo

test: $(STAMP) $(OPENPI)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=thinkvla --cov-report=term:skip-covered
	$(BIN)/coverage report --include="src/thinkvla/method/*" --fail-under=100

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The LeRobot plugin, in an environment of its own: LeRobot wants Python 3.12 and other versions of torch and transformers.
PYTHON312 ?= $(shell for python in python3.12 $$HOME/.pyenv/versions/3.12*/bin/python3.12; do \
	$$python --version >/dev/null 2>&1 && command -v $$python && break; done)
PLUGIN := plugins/lerobot_policy_thinkvla
LEROBOT := build/lerobot

plugin-test: python312 $(LEROBOT)/.installed
	cd $(PLUGIN) && OMP_NUM_THREADS=1 $(CURDIR)/$(LEROBOT)/bin/python -m pytest

python312:
	@test -n "$(PYTHON312)" || { echo "plugin-test needs Python 3.12: make plugin-test PYTHON312=PATH"; exit 2; }

$(LEROBOT)/.installed: $(PLUGIN)/requirements.lock $(PLUGIN)/pyproject.toml pyproject.toml
	@echo "installing LeRobot with its own torch: 6 GB, some minutes"
	test -d $(LEROBOT) || $(PYTHON312) -m venv $(LEROBOT)
	$(LEROBOT)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(PLUGIN)/requirements.lock
	$(LEROBOT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . --editable $(PLUGIN)
	touch $@

# What runs in LIBERO and SimplerEnv, in environments of their own. SimplerEnv's files: THINKVLA_SIMPLER_ASSETS, or
# ../shared/assets; where there are none, its tests say so and are skipped.
simulator-test: export THINKVLA_ENVIRONMENTS ?= $(CURDIR)/build/environments
simulator-test: $(STAMP)
	$(BIN)/thinkvla env install libero
	$(BIN)/thinkvla env install simpler
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m simulators -n 2 --dist loadfile -rs

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
