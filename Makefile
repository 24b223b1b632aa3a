# `make help` lists what there is. PYTHON picks the interpreter that the environment is made with, EXTRAS what is installed.
PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= dev
BIN    := $(VENV)/bin
DATA   ?= ../shared/data/images/kodak
SOURCES := $(shell find codecs quantizers entropy kernels cli datasets benchmarks src -type f \
             \( -name '*.py' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.inc' -o -name '*.np[yz]' \
             -o -name '*.safetensors' -o -name '*.json' \) 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test test-compressai slow lint format bench fuzz clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

$(VENV)/.installed: pyproject.toml CMakeLists.txt constraints.txt $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt ".[$(EXTRAS)]"
	@touch $@

demo: $(VENV)/.installed  ## encode and decode a real photograph, beside the best JPEG of the same quality, a recording, beside Opus, and a key-value cache
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed  ## all tests but the slow ones, and the examples in the docstrings
	@$(BIN)/python -m pytest -m "not slow" tests
	@$(BIN)/python -m pytest -q --doctest-modules --doctest-ignore-import-errors --pyargs siglum.errors siglum.entropy siglum.codecs siglum

slow: $(VENV)/.installed  ## the tests that take long or much memory
	@$(BIN)/python -m pytest -m slow tests

test-compressai:  ## what needs CompressAI and torchvision, in an environment of its own, whose numpy is below 2
	@test -x $(VENV)-compressai/bin/python || $(PYTHON) -m venv $(VENV)-compressai
	@$(VENV)-compressai/bin/python -m pip install -q --disable-pip-version-check torch==2.13.0 ".[compressai,lpips]" pytest pytest-timeout
	@$(VENV)-compressai/bin/python -m pytest tests/benchmarks/test_torchvision_peers.py

lint: $(VENV)/.installed  ## style, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@cd src && ../$(BIN)/mypy --config-file ../pyproject.toml -p siglum

format:  ## put the sources into house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.installed  ## rate and distortion over DATA=folder, and the entropy coder's speed
	@$(BIN)/codec bench $(DATA)
	@$(BIN)/python -m siglum.benchmarks.entropy

fuzz:  ## a million damaged payloads into the entropy decoders, under the address and undefined behaviour sanitizers
	@tests/sanitizers/run.sh 1000000

clean:  ## remove the environment and everything built
	@rm -rf $(VENV) $(VENV)-compressai build demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
