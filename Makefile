# make demo | test | test-all | bench | lint: each makes .venv, installs and builds first.
# make gpu: the tests and the benchmark that need a GPU; make gpu QLANGEVIN_PYTHON=python3 takes a Python that has torch with CUDA,
# pytest and the build's requirements, and downloads nothing.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell find csrc cmake tests/cuda -type f -not -name '*.py*') CMakeLists.txt setup.py pyproject.toml
FORMATTED := 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'tests/*.h' 'tests/*.cpp'

.PHONY: demo test test-all bench gpu lint format clean

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
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files $(FORMATTED))

test: lint
	$(BIN)/python -m pytest

test-all: lint
	QLANGEVIN_FULL=1 $(BIN)/python -m pytest

bench: .venv/.built
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-group-by=group

# For this machine's GPU alone; the next `make test` builds for all again.
GPU_PYTHON := $(or $(QLANGEVIN_PYTHON),$(BIN)/python)
SANITIZER := $(or $(shell command -v compute-sanitizer),$(wildcard $(CUDA_HOME)/bin/compute-sanitizer))
gpu: $(if $(QLANGEVIN_PYTHON),,.venv/.installed)
	rm -f .venv/.built
	archs=$$($(GPU_PYTHON) -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') && \
	  QLANGEVIN_CUDA=ON QLANGEVIN_CUDA_ARCHS=$$archs QLANGEVIN_BUILD_DIR=build/gpu PATH="$(CURDIR)/$(BIN):$$PATH" \
	  $(GPU_PYTHON) -m pip install --quiet --no-build-isolation --no-deps --editable .
	$(GPU_PYTHON) -m qlangevin info
	$(GPU_PYTHON) -m pytest tests/gpu
	$(if $(SANITIZER),PYTORCH_NO_CUDA_MEMORY_CACHING=1 $(SANITIZER) --tool memcheck --error-exitcode 1 \
	  $(GPU_PYTHON) -m pytest tests/gpu -k parity,@echo "NOT SANITIZED: there is no compute-sanitizer on the PATH or in CUDA_HOME")
	$(GPU_PYTHON) -m benchmarks.gpu

format: .venv/.built
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files $(FORMATTED))

clean:
	rm -rf .venv build dist *.egg-info qlangevin/*.so
