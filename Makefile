# `make demo` and `make test` set up all they need in .venv; nothing but Python 3.11+ and make has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installs into the environment that it is called with; CI has a quicker one.
INSTALL = $(1)/bin/python -m pip --quiet --disable-pip-version-check install
PYTEST_FLAGS ?=
AS =  # what the demo of `make package` is run by, for instance setpriv, as a user who has not the rights of root
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) -m '$(MARKS)' $(PYTEST_FLAGS)
PROCESSES = 2
MARKS = not nightly
TEST_ENV = $(VENV)/.test $(VENV)/.bench $(if $(ENGINES),$(VENV)/.engines)

.DEFAULT_GOAL := help
.NOTPARALLEL:
unexport PYTHONDONTWRITEBYTECODE  # hundreds of processes load the same modules, and each would compile them
MAKEFLAGS += --keep-going  # of several parts every one runs, whatever came of those before it; the end is a failure
.PHONY: help demo test test-unit test-kit test-docs test-airflow test-ui test-engines test-libraries nightly matrix check ui check-ui bench bench-airflow bench-engines bench-reach docs package coverage constraints clean

help:
	@echo "make demo      run the example DAGs under a real Airflow and print what they return (UI=1 leaves the UI up)"
	@echo "make test      run every test that this machine can run (ENGINES=1 installs Dask, Ray and Spark for theirs)"
	@echo "make test-libraries  which workers a fan-out has with each of ten libraries that have threads; installs them"
	@echo "make nightly   what no change need wait for: chaos, what plain joblib does wrong, the tests' own harness"
	@echo "make matrix    unit tests, test kit, demo and integration tests on each version of Airflow and Python that is supported"
	@echo "               (ONLY=oldest: that environment, PARTS=unit: those tests, QUICK=1: few tests on two environments;"
	@echo "               PARTS=ui: the tab in Chromium, which has to be installed)"
	@echo "make check     linters, formatter, types, direction of imports, spelling"
	@echo "make ui        build the tab of Airflow's UI into airflow_joblib/ui/dist; Node comes with it"
	@echo "make check-ui  the tab's own linter, types and tests, and whether the built bundle is what its sources give"
	@echo "make bench     measure against joblib, other pools and a plain loop (ONLY=no_op: that work, QUICK=1: a smoke run)"
	@echo "make bench-airflow  the same under a real Airflow, against .expand and joblib written by hand"
	@echo "make bench-engines  ours on a real cluster against the same engine driven directly (ENGINES=1 installs all three)"
	@echo "make bench-reach  the cost of every way to run items, under a real Airflow, with a model fitted to it"
	@echo "make docs      build the documentation into docs/_build/html"
	@echo "make package   build sdist and wheel, and run the demo from the wheel in an environment of its own"
	@echo "make coverage  branch coverage of the unit tests"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# One environment; each stamp adds what its targets need.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(call INSTALL,$(VENV)) -c constraints.txt -e .
	@touch $@

$(VENV)/.test $(VENV)/.check $(VENV)/.docs $(VENV)/.bench $(VENV)/.libraries $(VENV)/.ui: $(VENV)/.%: $(BIN)/python pyproject.toml constraints.txt
	$(call INSTALL,$(VENV)) -c constraints.txt -e '.[$*]'
	@touch $@

# The engines of clusters are large: for those who ask (ENGINES=1), as CI does.
$(VENV)/.engines: $(BIN)/python pyproject.toml constraints.txt
	$(call INSTALL,$(VENV)) -c constraints.txt -e '.[dask,ray,spark]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m tests.harness.demo $(if $(UI),--ui)

# Processes of their own, since unit tests import no Airflow.
test: test-unit test-kit test-docs test-airflow test-ui test-engines

# These wait for most of their time.
test-unit: PROCESSES = 6
test-docs: PROCESSES = 4
test-unit: $(TEST_ENV)
	$(PYTEST) --dist worksteal tests/unit

# Imports Airflow, and starts none.
test-kit: $(TEST_ENV)
	$(PYTEST) --dist worksteal tests/kit

test-docs: $(TEST_ENV)
	$(PYTEST) --dist worksteal tests/docs tests/typing tests/benchmarks tests/libraries

test-airflow: $(TEST_ENV)
	$(PYTEST) --dist loadgroup tests/integration

# Of a local cluster's workers, before which else all other processes of the tests come.
test-airflow test-engines nightly: export RAY_worker_niceness = 0

# In a browser, which skips where Chromium or Playwright is missing: `make .venv/.ui` installs the latter.
test-ui: $(TEST_ENV)
	$(PYTEST) --dist loadgroup tests/ui

test-engines: $(TEST_ENV)
	$(PYTEST) --dist loadgroup tests/engines

# The whole table of libraries with threads, which are large.
test-libraries: MARKS = nightly or not nightly
test-libraries: $(VENV)/.test $(VENV)/.libraries
	$(PYTEST) --dist worksteal tests/libraries

nightly: MARKS = nightly
nightly: $(TEST_ENV) $(VENV)/.engines $(VENV)/.libraries
	$(PYTEST) --dist loadgroup tests

$(BIN)/uv: $(BIN)/python
	$(BIN)/python -m pip --quiet --disable-pip-version-check install uv

matrix: $(BIN)/uv
	$(BIN)/python -m tests.matrix $(if $(ONLY),--only $(ONLY)) $(if $(PARTS),--parts $(PARTS)) $(if $(QUICK),--quick)

check: $(VENV)/.test $(VENV)/.check $(VENV)/.bench
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

# The same bundle on every machine: npm installs what package-lock.json names, and Node is the one of the extra.
UI_SOURCES = airflow_joblib/ui
NPM = cd $(UI_SOURCES) && PATH="$(CURDIR)/$(BIN):$$PATH" npm --silent

$(UI_SOURCES)/node_modules/.package-lock.json: $(VENV)/.ui $(UI_SOURCES)/package.json $(UI_SOURCES)/package-lock.json
	$(NPM) ci
	@touch $@

ui: $(UI_SOURCES)/node_modules/.package-lock.json
	$(NPM) run build

check-ui: $(UI_SOURCES)/node_modules/.package-lock.json
	$(NPM) run lint
	$(NPM) run types
	$(NPM) run test
	$(NPM) run build -- --outDir "$(CURDIR)/build/ui-bundle"
	diff --recursive $(UI_SOURCES)/dist build/ui-bundle || { echo "The bundle is not what its sources give: make ui"; exit 1; }

# Wants a quiet machine. The plots and the table of the documentation are made from what is in build/bench:
# python -m tests.benchmarks --docs docs/explanation/benchmarks
bench: $(VENV)/.bench
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(BENCH_FLAGS)

bench-airflow: $(VENV)/.bench
	$(BIN)/python -m tests.benchmarks --airflow $(if $(QUICK),--quick) $(BENCH_FLAGS)

bench-engines: $(VENV)/.test $(VENV)/.bench $(if $(ENGINES),$(VENV)/.engines)
	$(BIN)/python -m tests.benchmarks.engines $(if $(QUICK),--quick) $(BENCH_FLAGS)

# The parts of the documentation's page are made from build/reach: python -m tests.benchmarks.reach --docs docs/explanation/reach
bench-reach: $(VENV)/.bench $(if $(ENGINES),$(VENV)/.engines)
	$(BIN)/python -m tests.benchmarks.reach $(if $(QUICK),--quick) $(BENCH_FLAGS)

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html

# The wheel alone, away from the sources: the examples and the demo's runner are copied, the package is not.
package: $(BIN)/python
	rm -rf build/package dist
	$(call INSTALL,$(VENV)) build
	$(BIN)/python -m build --quiet --outdir dist
	mkdir -p build/package/tests
	cp -r dags build/package/dags
	cp tests/__init__.py build/package/tests/
	cp -r tests/harness build/package/tests/harness
	$(PYTHON) -m venv build/package/venv
	$(call INSTALL,build/package/venv) -c constraints.txt dist/*.whl
	cd build/package && $(AS) venv/bin/python -m tests.harness.demo

coverage: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/unit
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing --skip-covered

# Names and versions only, for every Python that is supported.
constraints:
	uv pip compile --quiet --universal --upgrade --python-version 3.11 --all-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) build dist docs/_build $(UI_SOURCES)/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
