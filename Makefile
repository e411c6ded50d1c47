# The project's entry points. Each target sets up what it needs; nothing else has to be installed
# than Python >= 3.11 and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINE ?= ministack
EXECUTOR ?= process
PORT ?= 4566
SECONDS_EACH ?= 120
# What tests of real images need of the machine; Debian's packages have the programs' names.
TOOLS := podman runc docker-registry skopeo umoci mmdebstrap
# How many tests run beside each other, each file's in one process; WORKERS=0 is one after another.
WORKERS ?= 2
# `make bench`: which other servers (none, default, all or names), how many rounds of everything.
PEERS ?= default
ROUNDS ?= 5
# jsii (the CDK) and the cdk CLI run on the Node.js that the lock brings along.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test fuzz up down check format bench figures lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready infra/node_modules/.ready ## Install everything into this folder

tools: ## Install what tests of real images need (as root, with apt-get)
	@missing=; for tool in $(TOOLS); do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -n "$$missing" || exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Not installed:$$missing. Tests of real images are skipped;" \
	       "to run them: sudo apt-get install$$missing"; exit 0; fi; \
	echo "Installing$$missing (once) …"; mkdir -p .local; export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get -qq update; apt-get -qq -y --no-install-recommends install$$missing; } \
	  >.local/tools.log 2>&1 || { tail -3 .local/tools.log; \
	  echo "That failed (all of it: .local/tools.log). Tests of real images are skipped."; }

demo: setup ## Run the main job on the local cloud: publish, deploy, call, split, roll back
	@$(BIN)/python localstack/demo/demo.py

test: setup tools ## Run every test (WORKERS=)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

fuzz: setup ## Fuzz everything that reads strangers' bytes (SECONDS_EACH=, findings in .local/fuzz)
	@mkdir -p .local/fuzz
	@for surface in runtime grpc router client envelopes; do \
	  mkdir -p .local/fuzz/$$surface && PYTHONPATH=$$($(BIN)/python -m tests.fuzz packages) \
	  $(BIN)/python -m tests.fuzz $$surface -max_total_time=$(SECONDS_EACH) \
	    -artifact_prefix=.local/fuzz/ .local/fuzz/$$surface || exit 1; done

up: setup ## Start the local cloud, leave .local/env to source (ENGINE=, PORT=, EXECUTOR=)
	@$(BIN)/python localstack/cloud.py up --engine $(ENGINE) --port $(PORT) --executor $(EXECUTOR)

down: setup ## Stop the local cloud
	@$(BIN)/python localstack/cloud.py down

check: setup ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup ## Format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## Measure ours beside other servers and the limits (PEERS=all, ROWS=1,2, ROUNDS=)
	@command -v wrk >/dev/null || { echo "make bench wants wrk: sudo apt-get install wrk"; exit 1; }
	@$(BIN)/python -m tests.bench --peers $(PEERS) --rounds $(ROUNDS) $(if $(ROWS),--rows $(ROWS))

figures: setup ## Write the README's figures from the last make bench
	@$(BIN)/python -m tests.bench.publish

# What onnxruntime declares and only its converters import: no image carries it.
UNUSED := flatbuffers packaging

lock: setup ## Renew the locks from pyproject.toml
	@$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --extra dev pyproject.toml -o requirements.lock
	@# the functions' layer gets the versions that were tested: the lock above constrains it
	@$(BIN)/uv pip compile -q --python-version 3.12 --python-platform aarch64-manylinux_2_28 \
	  --generate-hashes --no-emit-index-url --no-header --constraint requirements.lock \
	  layers/deps/requirements.in -o layers/deps/requirements.txt
	@# the images' layers, for every supported Python and both architectures; onnxruntime for GPUs
	@# is another package, at the version of the tested one
	@for name in runtime runtime-cuda; do \
	  $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate --constraint requirements.lock \
	    --constraint <(sed -n 's/^onnxruntime==\([^ ;]*\).*/onnxruntime-gpu==\1/p' requirements.lock) \
	    $(UNUSED:%=--no-emit-package %) layers/deps/$$name.in -o layers/deps/$$name.txt || exit 1; \
	done

clean: ## Remove what the other targets made
	rm -rf $(VENV) .local infra/node_modules infra/cdk.out layers/deps/python

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "modelport needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) (once) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# pip verifies and installs uv, which installs the rest of the lock in seconds
	@awk '/^uv==/{p=1} p{print; if ($$0 !~ /\\$$/) exit}' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

infra/node_modules/.ready: infra/package-lock.json $(VENV)/.ready
	@echo "Setting up the cdk CLI (once) …"
	@cd infra && npm ci --silent --no-audit --no-fund && touch node_modules/.ready
