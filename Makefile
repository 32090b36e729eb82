# `make repro` and `make test` do everything on a new machine; both install first what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install repro test test-slow test-slurm bench-gpu torture faults environments oldest nfs docs check format lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(STAMP)  ## make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ssmlab needs Python 3.11 or later; name one with: make PYTHON=python3.12")'
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock "$$(grep '^torch==' requirements.lock)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

repro: $(STAMP)  ## run the study of params.yaml, one run per processor, then analysis and report through DVC
	@ssmlab grid
	@ssmlab repro

test: $(STAMP)  ## every test but the slow ones
	@OMP_NUM_THREADS=1 python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slurm: $(STAMP)  ## `ssmlab grid` on a real SLURM of one node (root, Debian)
	@command -v slurmctld >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge; }
	@OMP_NUM_THREADS=1 python -m pytest -m slow tests/slurm

test-slow: $(STAMP)  ## the slow tests
	@OMP_NUM_THREADS=1 python -m pytest -m slow -n 2 --dist loadgroup --ignore tests/slurm

torture: $(STAMP)  ## damaged files for every reader, for ten minutes (SECONDS=... for another time, SEED=... for other files)
	@OMP_NUM_THREADS=1 SSMLAB_TORTURE=$(or $(SECONDS),600) SSMLAB_TORTURE_SEED=$(or $(SEED),1) python -m pytest -q --timeout 0 tests/torture

docs: $(STAMP)  ## the documentation as a site, in site/; stops at every warning
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site/index.html is written"

faults: $(STAMP)  ## a failing disk under every stage and under DVC, ten minutes each (SECONDS=..., SEED=...); needs cc
	@OMP_NUM_THREADS=1 SSMLAB_FAULT_SECONDS=$(or $(SECONDS),600) SSMLAB_FAULT_SEED=$(or $(SEED),1) TMPDIR=$(or $(wildcard /dev/shm),/tmp) python -m pytest -q --timeout 0 tests/faults

environments: $(STAMP)  ## unusual environments, then the tests and the smoke study with PYTHONS="python3.12 python3.13"
	@OMP_NUM_THREADS=1 python -m pytest -q -n 0 -m slow tests/environments
	@for each in $(or $(PYTHONS),python3.12 python3.13); do tests/environments/try_python.sh $$each || exit 1; done

oldest:  ## the fast tests with the oldest packages that pyproject.toml allows; FOLDER=... keeps them, PARTS="nets cli" chooses
	@tests/environments/try_oldest.sh $(or $(FOLDER),$$(mktemp -d)) $(PARTS)

nfs: $(STAMP)  ## a training on a drive of NFS, in a virtual machine (root, Debian; FOLDER=... keeps its log)
	@tests/environments/try_nfs.sh $(FOLDER)

bench-gpu: $(STAMP)  ## the speed of adversarial training on this GPU, within ten minutes, in bench-gpu.json
	@python benchmarks/bench_gpu.py

check: $(STAMP)  ## ruff, formatting, types, import layers, bandit, and pip-audit where it is installed
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@bandit --quiet --recursive --configfile pyproject.toml ssmlab
	@.ci/audit

format: $(STAMP)  ## rewrite the code as `make check` wants it
	@ruff check --fix .
	@ruff format .

lock:  ## pin every package again, except torch; needs uv
	@{ echo 'requests>=2.32'; grep '^torch==' requirements.lock; } > .lock.override
	@uv pip compile --quiet --python-version 3.11 --extra dev --override .lock.override --no-emit-package torchvision \
	    --no-annotate --no-header --output-file .lock.all pyproject.toml
	@{ grep '^#' requirements.lock; grep -vE '^(nvidia-[^m]|cuda|triton)' .lock.all; } > .lock.new
	@mv .lock.new requirements.lock && rm .lock.override .lock.all

clean:  ## remove files that can be made again, but no results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
