# Every target sets itself up: the first one makes .venv from the exact versions in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# A process for each core, each with one thread: tensors of tests are tiny, and to collect the tests takes each process some
# ten seconds. Tests of one file share what their fixtures made; tests/conftest.py says which files come first.
WORKERS := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Else every worker and every process that a test starts compiles the library and rewrites the tests anew.
unexport PYTHONDONTWRITEBYTECODE
# Only these files have slow tests: to collect all others takes each process some ten seconds.
SLOW = $(shell grep --recursive --files-with-matches --include='test_*.py' -E 'slow|fuzzed' tests)
# Folders that exist: mypy fails on one that does not.
CODE := $(wildcard tabvision tests datamodules benchmarks docs)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format check browser surface lessons notebooks docs licenses wheel-check test-oldest clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

# The build backend comes first, pinned like the rest, so that the editable install fetches nothing unpinned.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt setuptools
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## train on real tables, photos and ratings, then show what came out
	$(BIN)/tabvision demo tabular
	$(BIN)/tabvision demo vision
	$(BIN)/tabvision demo fused
	$(BIN)/tabvision demo collab

test: $(VENV)/.installed  ## tests and doctests, but those marked slow
	$(PYTEST) -m 'not slow'
	@echo 'Slow tests were left out: make test-slow runs just those.'

test-slow: $(VENV)/.installed  ## just the tests marked slow
	$(PYTEST) -m slow $(SLOW)

lint: $(VENV)/.installed  ## formatting, ruff, mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict $(CODE)

format: $(VENV)/.installed  ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: browser lint test test-slow  ## what CI runs

# Without it the tests of the server's page are skipped, and say so; where CI is set, they fail. Only root on Debian can
# install it, as in CI.
browser:  ## Chromium from Debian's packages, if it is missing and can be installed
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& { timeout 60 apt-get update -qq; DEBIAN_FRONTEND=noninteractive timeout 180 apt-get install -qq --no-install-recommends chromium; } >/dev/null 2>&1; } \
		|| echo "No Chromium: the tests of the server's page will be skipped, or fail where CI is set."

surface: $(VENV)/.installed  ## accept a change of public names or options
	$(BIN)/python tests/test_surface.py --write

lessons: $(VENV)/.installed  ## run docs/lessons, and write what they print and draw
	OMP_NUM_THREADS=1 $(BIN)/python docs/lessons/make.py

notebooks: $(VENV)/.installed  ## write docs/lessons as notebooks to build/notebooks
	$(BIN)/python docs/lessons/make.py --notebooks build/notebooks

docs: $(VENV)/.installed  ## build the documentation site in build/site; CI builds it in tests/test_docs_site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'To read it with search: python -m http.server -d build/site'

licenses: $(VENV)/.installed  ## list the dependencies with their licenses in build/licenses.md
	mkdir -p build
	$(BIN)/python docs/licenses.py > build/licenses.md

# Neither of these is part of CI: each downloads a whole environment of some GB.
wheel-check:  ## install the wheel with all it asks for in a fresh environment, and use it from an empty folder
	rm -rf build/wheel && mkdir -p build/wheel/empty
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/pip install --quiet "$$(echo build/wheel/*.whl)[pl,demo,export,serve]"
	cd build/wheel/empty && ../venv/bin/tabvision demo vision

# What warns in an old version is no fault of ours, so that warnings are shown, not raised.
OLDEST := tests/contracts tests/preprocess tests/tasks tests/modules tests/inference tests/cli/test_commands.py
test-oldest:  ## the core tests with the oldest versions that pyproject.toml allows; without exports, which ask for newer ones
	rm -rf build/oldest
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/pip install --quiet setuptools
	build/oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable '.[pl,demo,excel,jpeg,serve]' \
		httpx hypothesis pytest
	OMP_NUM_THREADS=1 build/oldest/bin/python -m pytest -m 'not slow' -o filterwarnings=default -k 'not export and not onnx' \
		--ignore-glob '*export*' --ignore-glob '*onnx*' $(OLDEST)

clean:  ## remove the environment, caches and runs
	rm -rf $(VENV) build dist runs lightning_logs .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
