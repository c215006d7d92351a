# Every task of this project. Each sets up what it needs, and does nothing twice.

BIN := .venv/bin
ENVIRONMENT := @python3 stacyvm/cli/machine/environment.py
SETUP := @$(BIN)/stacyvm setup

.DEFAULT_GOAL := help
.PHONY: help demo serve test checks lint format images bench soak clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: ## Do the main job once, end to end
	$(ENVIRONMENT)
	$(SETUP) --fallback -- $(BIN)/stacyvm demo

serve: ## Run the server in the foreground, on 127.0.0.1:7423
	$(ENVIRONMENT)
	$(SETUP) -- $(BIN)/stacyvm serve

test: ## Run everything: lint, types, layers, all tests
	$(ENVIRONMENT) --dev
	$(SETUP) --dev -- $(MAKE) --no-print-directory checks

checks: lint # What `make test` runs once the machine is ready
	$(BIN)/pytest -q -m "not soak" tests

lint: ## Check style, types and import layers
	$(ENVIRONMENT) --dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## Format the code
	$(ENVIRONMENT) --dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

images: ## Build the images that are missing or outdated
	$(ENVIRONMENT)
	$(SETUP) -- $(BIN)/stacyvm images build

bench: ## Measure against the plain Docker SDK
	$(ENVIRONMENT) --dev
	$(SETUP) --dev -- $(BIN)/python -m tests.bench

soak: ## Run the long chaos and soak tests
	$(ENVIRONMENT) --dev
	$(SETUP) --dev -- $(BIN)/pytest -m soak --timeout=3600 tests

clean: ## Remove the virtual environment and all caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
