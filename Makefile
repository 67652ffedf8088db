# make demo | test | test-all | bench | lint: each makes .venv, installs and builds first.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell find csrc -type f) CMakeLists.txt setup.py pyproject.toml

.PHONY: demo test test-all bench lint format clean

.venv/.installed: requirements/dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements/dev.txt
	touch $@

.venv/.built: .venv/.installed $(NATIVE)
	QLANGEVIN_CMAKE_ARGS="-DQLANGEVIN_TEST_PATHS=ON -DQLANGEVIN_WERROR=ON" QLANGEVIN_BUILD_DIR=build/native \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

demo: .venv/.built
	$(BIN)/python -m qlangevin train $(ARGS)

lint: .venv/.built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'tests/*.h' 'tests/*.cpp')

test: lint
	$(BIN)/python -m pytest

test-all: lint
	QLANGEVIN_FULL=1 $(BIN)/python -m pytest

bench: .venv/.built
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-group-by=group

format: .venv/.built
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'tests/*.h' 'tests/*.cpp')

clean:
	rm -rf .venv build dist *.egg-info qlangevin/_native*.so
