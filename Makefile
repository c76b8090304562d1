# Two commands: `make demo` and `make test`. Both make .venv first if it is not there.

PYTHON ?= python3
BIN := .venv/bin
# one job a core, each of one thread; loadgroup: what shares an installation stays together
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup

.PHONY: demo test test-long bench study clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

# what runs only where it is installed, and is tested
.venv/extras: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev,dali,fused]'
	touch $@

demo: .venv/installed
	$(BIN)/ingest demo --out shards/demo
	$(BIN)/train --recipe demo --shards shards/demo --out runs/demo --resume
	$(BIN)/evaluate --checkpoint runs/demo --shards shards/demo --classifier centroid --out results/demo

test: .venv/extras
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TEST)

# what takes minutes: processes killed at 25 points of a run, and the like
test-long: .venv/installed
	$(TEST) -m long

bench: .venv/installed
	for script in $(filter-out $(wildcard tests/benchmarks/stud*.py) %/short_sounds.py %/without_phase.py %/same_numbers.py,$(wildcard tests/benchmarks/*.py)); do \
	  $(BIN)/python $$script || exit 1; done

# SYSTEM=mtslvr, scenes or k22: under an hour on two cores each; after an interruption the same
# command goes on
SYSTEM ?= mtslvr
STUDY_mtslvr := study.py
STUDY_scenes := study_scenes.py
STUDY_k22 := study_k22.py
study: .venv/installed
	$(BIN)/python tests/benchmarks/$(STUDY_$(SYSTEM))

clean:
	rm -rf .venv shards/demo runs/demo runs/study runs/study_scenes runs/study_k22 results/demo
