# rmlb: make run | make test are the front door; see README.md
.DEFAULT_GOAL := help
.PHONY: help setup run demo test check fix clean bundle lock screenshots
.PHONY: bench bench-full bench-members bench-state bench-watching bench-failover differential fuzz fuzz-native chaos soak floods
SHELL := /bin/bash
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

ENGINE := $(wildcard rmlb/fastpath/*.pyx rmlb/fastpath/*.pxd)

.venv/.run: pyproject.toml setup.py $(ENGINE)
	@.ci/packages build
	@test -x $(BIN)/python || python3 -m venv .venv
	@echo "installing rmlb into .venv ..."
	@$(PIP) install --editable '.[sim]'
	@touch $@

.venv/.dev: .venv/.run
	@echo "installing development tools into .venv ..."
	@$(PIP) install $$($(BIN)/python .ci/extra dev)
	@touch $@

setup: .venv/.run  ## make .venv and install rmlb into it

run: setup       ## the balancer on loopback in front of two simulated members
	@exec $(BIN)/python -m rmlb.sim.quickstart config/quickstart.toml

demo: setup      ## a show of some 30 s: a member dies, the balancer dies, no call is lost
	@exec $(BIN)/python -m rmlb.sim.demo

test: .venv/.dev ## every test, against real sipp, kamailio, ...
	@.ci/packages test
	@$(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

check: .venv/.dev ## format, lint, types, import layers
	@$(BIN)/ruff format --check --quiet . || { echo "unformatted: make fix"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@PATH=$(BIN):$$PATH cython-lint rmlb/fastpath/*.pyx rmlb/fastpath/*.pxd
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3

fix: .venv/.dev  ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.venv/.bench: .venv/.run
	@echo "installing what plots need into .venv ..."
	@$(PIP) install $$($(BIN)/python .ci/extra bench)
	@touch $@

bench: .venv/.bench ## what a message costs, beside Kamailio and a blind relay: under five minutes
	@.ci/packages test
	@$(BIN)/python -m benchmarks --short $(ARGS)

bench-full: .venv/.bench ## the same in nine rounds, with curves: some 45 minutes
	@.ci/packages test
	@$(BIN)/python -m benchmarks --full $(ARGS)

bench-members: .venv/.dev ## what failing members cost, measured: some 12 minutes
	@.ci/packages test
	@$(BIN)/python benchmarks/failover.py $(ARGS)

screenshots: .venv/.dev ## the pictures in docs/screenshots, taken anew
	@.ci/packages test
	@$(BIN)/python docs/screenshots/take.py $(ARGS)

bundle: .venv/.run ## dist/: one archive that installs without network and without a compiler
	@.ci/bundle

lock: .venv/.dev ## pin what the bundle holds: .ci/requirements.lock, from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	  pyproject.toml --output-file .ci/requirements.lock

bench-state: .venv/.dev ## what sharing state in Redis costs, and what a takeover loses
	@.ci/packages test
	@$(BIN)/python benchmarks/state.py $(ARGS)

bench-watching: .venv/.dev ## what dashboards, traces and HEP cost, at 1,000 calls/s: some eight minutes
	@.ci/packages test
	@$(BIN)/python benchmarks/watching.py $(ARGS)

bench-failover: .venv/.dev ## how long the virtual IP is silent, beside keepalived: three hours; ARGS=... for less
	@.ci/packages test
	@$(BIN)/python benchmarks/vip.py $(ARGS)

SEEDS ?= 1,2,3,4,5

chaos: .venv/.dev ## faults while calls flow, then a judgement: SEEDS=1,2,3,4,5 MINUTES=6 for each
	@.ci/packages test && .ci/packages chaos
	@$(BIN)/python benchmarks/chaos.py --seeds $(SEEDS) --minutes $(or $(MINUTES),6) $(ARGS)

soak: .venv/.bench ## calls and a fault every minute, memory and descriptors watched: MINUTES=102
	@.ci/packages test && .ci/packages chaos
	@$(BIN)/python benchmarks/soak.py --minutes $(or $(MINUTES),102) $(ARGS)

floods: .venv/.dev ## a flood from one source while a trusted caller's calls go on: four minutes
	@.ci/packages test && .ci/packages chaos
	@$(BIN)/python benchmarks/floods.py $(ARGS)

MESSAGES ?= 1000000
SEED ?= 1

differential: .venv/.dev ## the same messages through both engines: MESSAGES=1000000 SEED=1
	@$(BIN)/python tests/unit/fastpath/differential.py $(MESSAGES) $(SEED)

EXECUTIONS ?= 3000000
INSTRUMENTED := build/instrumented

fuzz-native: .venv/.dev ## the compiled engine under AddressSanitizer: EXECUTIONS=3000000 SEED=1
	@$(PIP) install 'setuptools>=77' 'cython>=3.1'
	@$(BIN)/python tests/native/build.py $(INSTRUMENTED)
	@LD_PRELOAD=$$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  PYTHONPATH=$(INSTRUMENTED):tests/unit/fastpath \
	  $(BIN)/python tests/native/fuzz.py $(EXECUTIONS) $(SEED)

.venv/.fuzz: .venv/.run
	@echo "installing atheris into .venv ..."
	@$(PIP) install --only-binary atheris $$($(BIN)/python .ci/extra fuzz) || { \
	  echo "make fuzz: atheris has no wheel for $$($(BIN)/python -V) on $$(uname -m):" \
	       "use another Python (3.11 has one on x86_64)"; exit 1; }
	@touch $@

SECONDS ?= 60

fuzz: .venv/.fuzz ## every fuzz target, coverage-guided: SECONDS=60 each; TARGET=name for one
	@PYTHONPATH=tests/unit/fastpath:tests/integration \
	  $(BIN)/python tests/fuzz/fuzz.py $(SECONDS) $(TARGET)

clean:
	rm -rf .venv build dist *.egg-info
