# Thin on purpose: each target is one tool. SCENARIO=<name> picks one Molecule scenario.
SCENARIO ?=

.DEFAULT_GOAL := help
.PHONY: help venv engine image demo test lint unit docs lock clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

venv: ## Install the locked control-node packages into .venv
	@tools/venv

engine: ## Find a working Docker engine, or start one
	@tools/engine

image: engine ## Build the test-host images that are missing or out of date
	@tools/image debian12 debian13

demo: venv ## Deploy the example app to one fresh host and print its URL
	@.venv/bin/python tools/demo.py

test: venv ## Run lint, unit tests and every Molecule scenario
	@.venv/bin/python tools/run_tests.py $(SCENARIO)

lint: venv ## Run the linters only; one of them needs Docker
	@.venv/bin/python tools/run_tests.py --only lint

unit: venv ## Run the unit tests only
	@.venv/bin/python tools/run_tests.py --only unit

docs: venv ## Write the roles' READMEs from their argument specs
	@.venv/bin/python tools/role_docs.py

lock: venv ## Write requirements.lock from pyproject.toml
	@UV_CACHE_DIR=.cache/uv .venv/bin/uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --generate-hashes \
	  --no-config --default-index https://pypi.org/simple --quiet --upgrade \
	  --custom-compile-command "make lock" --output-file requirements.lock

clean: ## Remove what the other targets made, and nothing else
	@tools/clean
