# The targets of this project. `make` alone lists them.
SHELL := /bin/bash
PYTHON_BIN := .venv/bin/python
export VLLM_CPU_KVCACHE_SPACE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-sdk run test test-all test-containers test-versions test-gpu test-upstream lint format
.PHONY: render docs bench wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: ## .venv with pinned, locked dependencies and the real engine for CPU
	@scripts/setup.sh engine

setup-sdk: ## .venv-sdk with the official SDK, for conformance tests
	@scripts/setup.sh sdk

run: setup ## gateway + worker + vLLM with the embedded model, on this machine (ARGS="--port 8001 --engine echo" ...)
	@exec .venv/bin/worker-vllm local $(ARGS)

test: setup setup-sdk ## everything but the long matrices: unit, gateway, real SDK clients, real engine
	@$(PYTHON_BIN) -m pytest -q -m "not matrix and not gpu and not upstream and not containers and not versions" $(ARGS)

test-all: setup setup-sdk ## the long matrices too
	@$(PYTHON_BIN) -m pytest -q -m "not gpu and not upstream" $(ARGS)

test-containers: setup ## both images, built and run with podman (root; installs what is missing with apt-get)
	@$(PYTHON_BIN) -m pytest -q tests/containers tests/deploy $(ARGS)

test-versions: setup ## the worker with each supported vLLM's engine for CPU, in an environment of its own (3 GB each)
	@$(PYTHON_BIN) -m pytest -q -m versions $(ARGS)

test-gpu: setup ## the tests that need an NVIDIA GPU; reported as 'not run' without one
	@$(PYTHON_BIN) -m pytest -q -m gpu $(ARGS)

test-upstream: setup ## vLLM's own server tests, against vLLM and through gateway and worker (ARGS="embed": one engine)
	@$(PYTHON_BIN) -m tests.upstream.run $(ARGS)

lint: setup ## ruff (format and check), mypy strict
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy

format: setup ## format and fix with ruff
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

render: setup ## write the generated documentation and forms
	@$(PYTHON_BIN) -m tools.render

docs: setup ## the documentation site in docs/_build; every warning is an error
	@$(PYTHON_BIN) -m sphinx -q -W --keep-going -n -b html docs docs/_build

bench: setup ## run a benchmark (ARGS="dispatch"); without ARGS list them
	@$(PYTHON_BIN) -m benchmarks $(ARGS)

wheel: setup ## dist/*.whl
	@rm -rf dist && $(PYTHON_BIN) -m hatchling build -t wheel

clean: ## remove the files that these targets made
	@rm -rf .venv .venv-sdk dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
