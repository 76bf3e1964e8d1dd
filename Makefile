# frameloop: `make demo` shows the whole loop, `make test` runs the tests. Both set everything up.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TOOLS := .tools
UV := $(TOOLS)/bin/uv
VENV := .venv
TRAINING := .venv-training
BIN := $(VENV)/bin
# Never fetch an interpreter: the machine's own is used.
export UV_PYTHON_DOWNLOADS := never
# Under `uv run`, Ray would make an environment for each worker; ours is shared.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
FRAMES ?= 2000
OUT ?= demo-out

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(UV): requirements/tools.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "frameloop needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --require-hashes -r requirements/tools.txt
	@touch $@

$(VENV)/.ready: requirements/service.txt pyproject.toml $(UV)
	$(UV) venv --quiet --allow-existing --python "$$(readlink -f $(TOOLS)/bin/python)" $(VENV)
	@echo "installing the service's environment into $(VENV) (about 1.5 GB)"
	$(UV) pip sync --quiet --python $(VENV) --require-hashes requirements/service.txt
	$(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation -e .
	@touch $@

$(TRAINING)/.ready: requirements/training.txt training/pyproject.toml $(wildcard training/llamafactory_lance/*.py training/llamafactory_lance/*/*.py) $(UV)
	$(UV) venv --quiet --allow-existing --python "$$(readlink -f $(TOOLS)/bin/python)" $(TRAINING)
	@echo "installing LLaMA-Factory's environment into $(TRAINING) (about 5 GB)"
	$(UV) pip sync --quiet --python $(TRAINING) --require-hashes requirements/training.txt
	$(UV) pip install --quiet --python $(TRAINING) --no-deps --no-build-isolation ./training
	@touch $@

$(VENV)/.kafka: $(VENV)/.ready
	$(BIN)/python -m frameloop.runtime.embedded_kafka
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready $(TRAINING)/.ready $(VENV)/.kafka ## Make both environments and fetch Kafka

.PHONY: demo
demo: setup ## Run the whole loop on real games (FRAMES=2000, OUT=demo-out)
	$(BIN)/frameloop demo --frames $(FRAMES) --out $(OUT)

.PHONY: test
test: setup ## Run all tests: real Kafka, Ray, Lance and LLaMA-Factory
	$(TRAINING)/bin/python -m pytest -q tests/training
	$(BIN)/python -m pytest -q

.PHONY: test-fault
test-fault: setup ## Only the fault tests: kills at every step, outages
	$(BIN)/python -m pytest tests/fault

SECONDS_EACH ?= 60
.PHONY: fuzz
fuzz: $(VENV)/.ready ## Coverage-guided fuzzing of events, images and URLs (SECONDS_EACH=60)
	for target in event image url; do $(BIN)/python -m tests.fuzz $$target $(SECONDS_EACH) || exit 1; done

MINUTES ?= 30
.PHONY: soak
soak: setup ## Load and faults at random, then accounts and memory (MINUTES=30, SEED=...)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: bench-ingest
bench-ingest: setup ## Ingest against img2dataset on this machine (needs nginx: apt-get install nginx-light)
	$(BIN)/python -m benchmarks.ingest

.PHONY: bench-label
bench-label: setup ## Labels against rewriting Parquet, lance-ray and Geneva (8 GB of disk, half an hour)
	$(BIN)/python -m benchmarks.label

.PHONY: bench-dedupe
bench-dedupe: setup ## What the search for repeated events costs at 10,000 and at 1,000,000 rows
	$(BIN)/python -m benchmarks.dedupe

.PHONY: bench-freshness
bench-freshness: setup ## 200 events/s for 3 minutes: how soon is a row there, how soon its score?
	$(BIN)/python -m benchmarks.freshness

.PHONY: bench-upkeep
bench-upkeep: $(VENV)/.ready ## A day of micro-batches at once: do fragments, files and commit times stay bounded?
	$(BIN)/python -m benchmarks.upkeep

.PHONY: check
check: $(VENV)/.ready ## Run what CI checks: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.ready ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(VENV)/.ready ## Make what is made from the code: settings, JSON Schemas
	$(BIN)/frameloop settings --docs > docs/settings.md
	$(BIN)/python -m schemas.json_schema
	$(BIN)/python -m monitoring.dashboards.build

.PHONY: lock
lock: $(UV) ## Lock both environments and uv itself, with hashes
	$(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes requirements/tools.in -o requirements/tools.txt
	$(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --all-extras pyproject.toml -o requirements/service.txt
	$(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes -c requirements/service.txt pyproject.toml -o requirements/runtime.txt
	$(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes requirements/training.in -o requirements/training.txt

.PHONY: clean
clean: ## Remove what runs have left (not the environments)
	rm -rf .frameloop $(OUT)
