# Every target makes its own environment from Python >= 3.11 alone and is quick when it exists.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest
DOCS := .venv-docs
WHEEL := .venv-wheel
CLUSTER := .venv-cluster

# One thread for each linear-algebra call: the tests run side by side, and small matrices gain nothing from more.
OMP_NUM_THREADS ?= 1
OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS OPENBLAS_NUM_THREADS

.PHONY: demo test test-all test-lowest test-wheel test-cluster test-site notebooks archives figures docs bench lint format clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo         the whole method on the shipped study, ending in an HTML report"
	@echo "make test         ruff, mypy, doctests and tests (under five minutes)"
	@echo "make test-all     the same and the long proofs by simulation"
	@echo "make test-lowest  the tests alone with the lowest versions pyproject.toml allows"
	@echo "make test-wheel   build the wheel, install it in an environment of its own, run the demo there"
	@echo "make test-cluster pieces of work on a real local Dask cluster"
	@echo "make test-site    notebooks in a real kernel, the explorer in a real browser (Chromium)"
	@echo "make notebooks    run the notebooks and keep their outputs"
	@echo "make archives     wheel and source archive, built twice and compared"
	@echo "make figures      regenerate figures/ with the scripts in analyses/"
	@echo "make docs         the documentation, in docs/_build/index.html"
	@echo "make bench        the side-by-side measurements in benchmarks/"
	@echo "make lint         ruff and mypy only"

# $(call environment,folder,lock file)
define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version + "; set PYTHON=/path/to/a/newer/python")'
@echo "Setting up $(1) (once) ..."
@$(PYTHON) -m venv --clear $(1)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(2)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
@touch $(1)/.ready
endef

$(READY): requirements.lock pyproject.toml
	$(call environment,$(VENV),requirements.lock)

$(LOWEST)/.ready: requirements-lowest.lock pyproject.toml
	$(call environment,$(LOWEST),requirements-lowest.lock)

$(CLUSTER)/.ready: requirements-cluster.lock requirements.lock pyproject.toml
	$(call environment,$(CLUSTER),requirements-cluster.lock)

$(DOCS)/.ready: requirements-docs.lock pyproject.toml
	$(call environment,$(DOCS),requirements-docs.lock)

demo: $(READY)
	@$(BIN)/alliance-stats demo

test: lint
	@$(BIN)/python -m pytest -q -n 2
	@echo "All checks passed: ruff, mypy, doctests and tests."

test-all: lint test-cluster
	@$(BIN)/python -m pytest -q -n 2 -m "not site"
	@echo "All checks passed, long proofs included."

test-cluster: $(CLUSTER)/.ready
	@$(CLUSTER)/bin/python -m pytest -q -m "" tests/tables/test_cores.py
	@echo "Pieces of work gave the same bytes on a local Dask cluster."

# Python 3.11 or 3.12: the lowest versions have no wheels for newer ones.
test-lowest: $(LOWEST)/.ready
	@$(LOWEST)/bin/python -m pytest -q -n 2
	@echo "The tests passed with the versions of requirements-lowest.lock."

# Run it with PYTHON= the lowest and the newest Python that the dependencies have wheels for.
test-wheel: $(READY)
	@rm -rf dist $(WHEEL)
	@SOURCE_DATE_EPOCH=1767225600 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@$(PYTHON) -m venv $(WHEEL)
	@$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[all]"
	@cd $(WHEEL) && bin/alliance-stats demo --out demo-report > demo.log && tail -n 4 demo.log
	@echo "The wheel is $$(ls dist/*.whl); its demo report is $(WHEEL)/demo-report/report.html."

test-site: $(DOCS)/.ready
	@$(DOCS)/bin/python -m pytest -q -m site tests/explorer tests/notebooks
	@echo "The notebooks and the explorer work in a real kernel and a real browser."

notebooks: $(DOCS)/.ready
	@$(DOCS)/bin/python notebooks/run.py
	@echo "The notebooks in notebooks/ hold their outputs."

# Twice, into two folders: the archives that are published must be the same bytes wherever they are built.
archives: $(READY)
	@rm -rf dist build-again
	@for folder in dist build-again; do SOURCE_DATE_EPOCH=1767225600 $(BIN)/python -m hatchling build -d $$folder > build.log 2>&1 || { cat build.log; exit 1; }; done
	@rm -f build.log
	@diff -r dist build-again && rm -rf build-again
	@cd dist && sha256sum * && echo "The archives are in dist/; a second build gave the same bytes."

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

figures: $(READY)
	@for script in analyses/[0-9]*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done
	@echo "The figures are in figures/."

docs: $(DOCS)/.ready
	@$(DOCS)/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "The documentation is in docs/_build/index.html."

bench: $(READY)
	@missed=""; for script in benchmarks/bench_*.py; do echo "$$script"; PYTHONPATH=analyses $(BIN)/python "$$script" || missed="$$missed $$script"; done; \
	if [ -n "$$missed" ]; then echo "A bar was missed, or the script broke, in:$$missed"; else echo "Every bar was met."; fi

clean:
	rm -rf $(VENV) $(LOWEST) $(CLUSTER) $(DOCS) $(WHEEL) dist docs/_build docs/api .mypy_cache .ruff_cache .pytest_cache demo-report
