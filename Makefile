# The two commands of the README, and what they stand on. Everything is installed into .venv from hash-locked lists.
.RECIPEPREFIX := >
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := .venv/bin/python -m pip --disable-pip-version-check
PORT ?= 8000

.PHONY: sandbox test lint bench campaign clean

sandbox: .venv/.serve
> .venv/bin/cds-service sandbox --port $(PORT)

test: .venv/.test debian
> tests/run

lint: .venv/.test
> .venv/bin/ruff check .
> .venv/bin/ruff format --check .
> .venv/bin/mypy
> .venv/bin/lint-imports

bench: .venv/.test
> .venv/bin/python benchmarks/chart_open.py

campaign: .venv/.test debian
> CDS_CAMPAIGN=1 tests/run

.venv/bin/python:
> $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
> $(PYTHON) -m venv .venv

.venv/.serve: .venv/bin/python requirements/serve.txt requirements/build.txt pyproject.toml
> $(PIP) install -q --require-hashes -r requirements/build.txt -r requirements/serve.txt
> $(PIP) install -q --no-deps --no-build-isolation -e .
> touch $@

.venv/.test: .venv/bin/python requirements/train.txt requirements/build.txt pyproject.toml
> $(PIP) install -q --require-hashes -r requirements/build.txt -r requirements/train.txt
> $(PIP) install -q --no-deps --no-build-isolation -e .
> touch $@ .venv/.serve

# Real parts for the tests: a browser, fonts that show Japanese. Installed where we are root, else named by the test that misses them.
.PHONY: debian
debian:
> deploy/install-test-parts

clean:
> rm -rf .venv var dist build
