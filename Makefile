# Two commands on a fresh machine with Python 3.11 or newer, make and pip:
#   make demo   sets up a virtual environment, trains one model of each family on real MNIST, writes a report
#   make test   the checks and the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
OUT ?= runs/demo

.PHONY: demo test check bench docs weights clean

demo: $(VENV)/.installed
	$(BIN)/triptych demo --out $(OUT)

test: check
	$(BIN)/python -m pytest -n auto

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/growth.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("triptych needs Python 3.11 or newer; say which: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]"
	touch $(VENV)/.installed $@

docs: $(VENV)/.installed-docs
	$(BIN)/python tools/site.py
	NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mkdocs build -q -f build/mkdocs.yml
	@echo 'build/site/index.html; with its search: $(PYTHON) -m http.server -d build/site'

weights: $(VENV)/.installed
	$(BIN)/python tools/weights.py runs/weights

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[docs]"
	touch $@

kjv.txt:
	tools/kjv.sh $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
