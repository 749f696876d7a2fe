# `make demo` and `make test` each make .venv, install what is needed and do their job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow mutants fuzz faults lint site tutorials install clean

demo: install
	$(BIN)/crystal-diffusion demo --out run_demo

# On all cores that may be used; a file's tests stay together, and all share one trained model.
test: install
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

slow: install
	$(BIN)/python -m pytest -n auto -m slow

# Puts errors into a copy of the package, one at a time: do the tests notice? The same command goes
# on where it was.
mutants: install
	$(BIN)/python -m tests.mutants --state mutants.jsonl

# Damaged files, run folders, models and argument lists; the same command goes on where it was.
FUZZ ?= --readers 1000000 --runs 20000 --models 5000 --arguments 2000 --folders 5000
fuzz: install
	$(BIN)/python tests/fuzz/fuzz.py $(FUZZ) --state fuzz.json

# Kills, Ctrl-C, full disks, read-only folders and two writers; KILLS kills of each verb.
KILLS ?= 100
faults: install
	$(BIN)/python tests/faults/faults.py --kills $(KILLS)

# The documentation as pages that open from disk; links and names in it are checked.
site: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the tutorials and writes what was printed, and the pictures, into their pages.
tutorials: install
	$(BIN)/python recipes/run_tutorials.py --write docs/tutorials/*.md

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(STAMP)

# PyTorch first and pinned: a plain `torch` may bring gigabytes of GPU packages.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) run_demo build *.egg-info
