# `make demo` and `make test` set everything up in .venv first; a second run finds it there.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs challenge rivals clean

demo: $(VENV)/.demo
	$(BIN)/python cli.py demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q

# make challenge DATA=Freehand_US_data_val_2025.zip [TRAIN=Freehand_US_data_train_2025.zip CALIBRATE=12] [OUT=challenge]
# [JOBS=2]: so many scans at a time.
challenge: $(VENV)/.demo
	@$(if $(DATA),,echo "make challenge: expected DATA=Freehand_US_data_val_2025.zip, found none" >&2; exit 2)
	@$(BIN)/python tools/challenge.py "$(DATA)" $(if $(TRAIN),--train "$(TRAIN)") $(if $(CALIBRATE),--calibrate "$(CALIBRATE)") \
		-o "$(or $(OUT),challenge)" $(if $(JOBS),-j "$(JOBS)")

# Data and checkpoints of the learned baselines: docs/BENCHMARK-engines.md. WORLDS: the folder of benchmarks/worlds.py.
rivals: $(VENV)/.bench
	$(BIN)/python benchmarks/worlds.py --group choose --simulate-only --data $(or $(WORLDS),bench/worlds)
	$(BIN)/python benchmarks/learned/data.py -o bench/rivals/scans --held-out $(or $(WORLDS),bench/worlds)
	$(BIN)/python benchmarks/learned/train_small.py bench/rivals/scans --model sequence -o bench/rivals/sequence.pt
	$(BIN)/python benchmarks/learned/train_small.py bench/rivals/scans --model pair -o bench/rivals/pair.pt

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q docs build/site
	@echo build/site/index.html

$(BIN)/pip:
	$(PYTHON) tools/make_venv.py $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo build
