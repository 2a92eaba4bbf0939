# Everything a fresh clone needs is Python 3.11 or newer; `make` alone says what there is to make.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
COVERAGE_FLOOR := 92

.PHONY: help
help: ## Say what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

.PHONY: demo
demo: $(if $(S3),$(VENV)/s3.stamp,$(VENV)/run.stamp) ## Watch mail being ingested from a small server of its own (S3=1: into SeaweedFS)
	@$(BIN)/ingest demo $(if $(S3),--s3)

.PHONY: test
test: $(VENV)/dev.stamp $(VENV)/checkov.stamp ## Lint, types, layers, then the tests, against real servers
	@tests/servers/system-packages
	@$(MAKE) lint
	@$(BIN)/pytest -q -m "not exam" --cov --cov-report= --cov-fail-under=$(COVERAGE_FLOOR)

.PHONY: faults
faults: $(VENV)/dev.stamp ## Kill, stop and starve real processes at every point: what `make test` has no time for
	@tests/servers/system-packages faketime:faketime
	@$(BIN)/pytest -q -m exam --ignore=tests/drills

.PHONY: drills
drills: $(VENV)/dev.stamp ## Make every alert fire on a running system, and clear it as its runbook says
	@tests/servers/system-packages
	@$(BIN)/pytest -v tests/drills

.PHONY: lint
lint: $(VENV)/dev.stamp ## Lint, types and layers alone
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "unformatted: run '$(BIN)/ruff format'"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@layers=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$layers"; exit 1; }

.PHONY: simulate
simulate: $(VENV)/dev.stamp ## Let everything fail, by seeds (SEEDS=n: how many; SEED=n: one, step by step)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000))

.PHONY: mutants
mutants: $(VENV)/dev.stamp ## Put deliberate faults into copies of the code: does the exam see each?
	@$(BIN)/python -m tests.mutants

.PHONY: bench
bench: $(VENV)/dev.stamp ## Compare with fetchmail, getmail6, mpop and poplib (ROUNDS=1: quickly)
	@tests/servers/system-packages
	@$(BIN)/python -m tests.bench --rounds $(or $(ROUNDS),5)

.PHONY: lock
lock: $(VENV)/dev.stamp ## Bring requirements/ up to pyproject.toml; pins that still fit stay
	@$(COMPILE) pyproject.toml --all-extras --group dev --group build -o requirements/dev.txt
	@$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	@$(COMPILE) --group sbom -c requirements/dev.txt -o requirements/sbom.txt
	@$(COMPILE) --group checkov -o requirements/checkov.txt
	@$(COMPILE) pyproject.toml --extra embedded -c requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) pyproject.toml --extra embedded --extra tracing -c requirements/dev.txt -o requirements/image.txt
	@$(COMPILE) pyproject.toml --extra embedded --extra seaweedfs -c requirements/dev.txt -o requirements/s3.txt

# Index-free, so that a lock says nothing about where it was made.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-strip-extras \
	--custom-compile-command 'make lock'

.PHONY: clean
clean: ## Remove the environment and caches (never ingested mail or bench results)
	@rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache dist build
	@find ingest tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/%.stamp: requirements/%.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo "installing requirements/$*.txt"
	@$(PIP) install --require-hashes -r requirements/build.txt -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/checkov.stamp: requirements/checkov.txt | $(BIN)/python
	@echo "installing $<"
	@$(BIN)/python -m venv --clear $(VENV)/checkov
	@$(VENV)/checkov/bin/python -m pip --disable-pip-version-check -qq install --no-compile \
		--require-hashes -r $<
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& exec $$python -m venv $(VENV); \
	done; \
	echo "no Python 3.11 or newer with its venv module found: install python3 and python3-venv," \
		"or say which with 'make PYTHON=/path/to/python3'" >&2; exit 1
