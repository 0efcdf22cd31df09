# Needs Rust, Python 3.11+ and a C compiler; everything else goes into environments of its own (.venv, .venv-demo,
# .venv-bench), never into yours. `make help` lists what there is.

PYTHON ?= python3
CARGO ?= cargo

DEV := .venv/bin
DEMO := .venv-demo/bin
BENCH := .venv-bench/bin
INTEROP := .venv/.interop
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
DENY_VERSION := 0.20.2
MQTTJS := tests/python/interop/node/node_modules/.package-lock.json
SOURCES := $(shell find src -name '*.rs') Cargo.toml Cargo.lock pyproject.toml
FACE := $(shell find python -name '*.py' -o -name '*.pyi' -o -name 'py.typed')
SEEDS ?= 20000
REPEAT ?= 1
CASES ?= 50000
SECONDS_EACH ?= 60
TARGETS ?= $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))

# A pip that is asked for groups must be 25.1 or later; the one that comes with Python may not be.
define make_environment
	$(PYTHON) -c 'import sys; sys.exit("rmqtt needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(foreach group,$(2),--group $(group))
	@touch $(1)/.stamp
endef

.PHONY: help demo test test-rust test-python test-interop examples-testing lint lint-rust lint-python lint-dependencies advisories bench bench-brokers bench-clients bench-encrypted bench-micro bench-outbox bench-churn bench-hostile bench-bad-inputs bench-verdict chaos fuzz fuzz-corpora fuzzer laws spec spec-update sim mosquitto node chromium clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

# ---- environments and builds --------------------------------------------------------------------

.venv/.stamp: pyproject.toml
	$(call make_environment,.venv,build test lint)

.venv-demo/.stamp: pyproject.toml
	$(call make_environment,.venv-demo,build demo)

# The package in .venv is built without optimisation and editable: a change in python/ is seen at once.
.venv/.package: .venv/.stamp $(SOURCES)
	VIRTUAL_ENV=$(CURDIR)/.venv $(DEV)/maturin develop --locked
	@touch $@

# The package in .venv-demo is what a user would install: an optimised wheel.
.venv-demo/.package: .venv-demo/.stamp $(SOURCES) $(FACE) README.md
	rm -rf build/wheels
	$(DEMO)/maturin build --locked --profile $(DEMO_PROFILE) --interpreter $(DEMO)/python --out build/wheels
	$(DEMO)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps build/wheels/rmqtt-*.whl
	@touch $@

DEMO_PROFILE := quick

# The package in .venv-bench is what is measured: the wheel as it is released, beside the clients it is compared with.
.venv-bench/.stamp: pyproject.toml
	$(call make_environment,.venv-bench,build bench)

.venv-bench/.package: .venv-bench/.stamp $(SOURCES) $(FACE) README.md
	rm -rf build/wheels-bench
	$(BENCH)/maturin build --locked --release --interpreter $(BENCH)/python --out build/wheels-bench
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps build/wheels-bench/rmqtt-*.whl
	@touch $@

# The load generator, and what it is built with: our broker alone, a relay, a sink.
LOAD := target/benches/release/rmqtt-benches
$(LOAD): $(SOURCES) $(shell find benches -name '*.rs') benches/Cargo.toml
	$(CARGO) build --release --manifest-path benches/Cargo.toml --target-dir target/benches
	@touch $@

$(INTEROP): .venv/.package
	$(DEV)/python -m pip install --quiet --disable-pip-version-check --group interop
	@touch $@

# ---- what users and contributors run ------------------------------------------------------------

demo: .venv-demo/.package ## build the package and run examples/sensor_pipeline.py (ARGS='--broker URL')
	$(DEMO)/python examples/sensor_pipeline.py $(ARGS)

test: test-rust test-python ## all tests that need nothing but this machine

test-rust:
	$(CARGO) test --locked

test-python: .venv/.package
	$(DEV)/python -m pytest $(ARGS)

# MQTT.js, in the versions of the lock file; npm asks whichever registry it is configured for.
$(MQTTJS): tests/python/interop/node/package.json tests/python/interop/node/package-lock.json | node
	npm --prefix tests/python/interop/node ci --no-audit --no-fund --loglevel=error
	@touch $@

test-interop: $(INTEROP) $(MQTTJS) mosquitto chromium ## foreign clients against our broker, our client and our broker's answers against mosquitto
	PATH="$$PATH:/usr/sbin" $(DEV)/python -m pytest -m interop tests/python/interop $(ARGS)

examples-testing: $(INTEROP) ## the suites of examples/testing, ours and paho's, alone and by four workers (REPEAT=100)
	$(DEV)/python -m pytest -q -p no:cacheprovider --keep-duplicates $(ARGS) $(foreach run,$(shell seq $(REPEAT)),examples/testing)
	$(DEV)/python -m pytest -q -p no:cacheprovider --keep-duplicates $(ARGS) -n 4 $(foreach run,$(shell seq $(REPEAT)),examples/testing)

chaos: .venv/.package $(if $(filter ours,$(BROKER)),,mosquitto) ## our client behind a bad network: nothing lost, doubled, disordered? (SECONDS=600 SEED=n BROKER=ours|mosquitto)
	PATH="$$PATH:/usr/sbin" PYTHONPATH=tests/python $(DEV)/python -m chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

mosquitto:
	@PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null && command -v mosquitto_pub >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mosquitto mosquitto-clients; \
	else \
		echo "test-interop needs mosquitto and mosquitto_pub (Debian: apt-get install mosquitto mosquitto-clients)" >&2; exit 1; \
	fi

node:
	@command -v node >/dev/null && command -v npm >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm; \
	else \
		echo "test-interop needs Node.js 16 or later, with npm (Debian: apt-get install nodejs npm)" >&2; exit 1; \
	fi

chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	else \
		echo "test-interop needs a browser (Debian: apt-get install chromium)" >&2; exit 1; \
	fi

lint: lint-rust lint-python lint-dependencies ## formatters, linters, type checkers, and what may come in; warnings are errors

lint-rust:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features python -- -D warnings
	$(CARGO) fmt --check --manifest-path benches/Cargo.toml
	$(CARGO) clippy --all-targets --manifest-path benches/Cargo.toml --target-dir target/benches -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --features python

lint-python: .venv/.package
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy
	$(DEV)/stubtest rmqtt._rmqtt --mypy-config-file pyproject.toml $(addprefix --allowlist ,$(wildcard tests/python/stubtest_allowlist.txt))

# Licences, sources and doubled versions need no network once the tool is there; known weaknesses need their data base,
# which not every machine reaches: `make advisories`. pip-audit is told to trust whom pip trusts.
lint-dependencies: .venv/.stamp $(DENY)
	$(DENY) --locked check bans licenses sources
	trusted=$$($(DEV)/python -m pip config list | sed -n "s/^global\.cert='\(.*\)'/\1/p"); \
		REQUESTS_CA_BUNDLE="$${REQUESTS_CA_BUNDLE:-$$trusted}" \
		$(DEV)/python -m pip_audit --local --skip-editable --progress-spinner off

# Its own speed does not matter here, so it is built without optimisation, in a minute.
$(DENY):
	$(CARGO) install --quiet --debug --locked --root $(TOOLS) --target-dir $(TOOLS)/build --version $(DENY_VERSION) cargo-deny
	@rm -rf $(TOOLS)/build

advisories: $(DENY) ## known weaknesses of the crates we use (asks for the RustSec data base)
	$(DENY) --locked check advisories

# Pages, charts and raw figures go where OUT says, or are printed; QUICK=1 is for a glance.
BENCH_OPTIONS = $(if $(QUICK),--quick) $(if $(OUT),--out $(abspath $(OUT))) $(ARGS)
SECONDS ?= $(if $(QUICK),20,600)

bench: ## brokers, clients and quiet rooms in turn: half an hour (QUICK=1: 3 minutes; OUT=docs/benchmarks writes the pages)
	@$(MAKE) --no-print-directory bench-brokers bench-encrypted bench-clients bench-micro
	@$(if $(OUT),$(BENCH)/python benches/verdict.py --write $(OUT))

bench-brokers: .venv-bench/.stamp $(LOAD) mosquitto ## our broker, mosquitto and a bare relay in turn (ARGS='--only q1-*')
	$(BENCH)/python benches/brokers.py $(BENCH_OPTIONS)

bench-encrypted: .venv-bench/.stamp $(LOAD) mosquitto ## our broker and mosquitto over TLS in turn (ARGS='--only tls-q1-*')
	$(BENCH)/python benches/encrypted.py $(BENCH_OPTIONS)

bench-clients: .venv-bench/.package $(LOAD) ## our Python client and five others in turn (ARGS='--only publish-*')
	$(BENCH)/python benches/clients.py $(BENCH_OPTIONS)

bench-micro: .venv-bench/.stamp ## codec, filter tree, session and send buffer by themselves (ARGS='--only route')
	$(BENCH)/python benches/micro.py $(BENCH_OPTIONS)

bench-outbox: .venv-bench/.package ## what the outbox in a file costs beside one in memory (QUICK=1; ARGS='--folder DIR' for its disk)
	$(BENCH)/python benches/outbox.py $(BENCH_OPTIONS)

bench-churn: .venv-bench/.stamp $(LOAD) ## clients come and go: is memory level, is nothing lost? (SECONDS=600)
	$(BENCH)/python benches/churn.py --seconds $(SECONDS) $(if $(OUT),--out $(abspath $(OUT))) $(ARGS)

bench-hostile: .venv-bench/.stamp $(LOAD) ## a hundred honest clients beside thousands that mean harm (ARGS='--count 5000')
	$(BENCH)/python benches/hostile.py $(if $(OUT),--out $(abspath $(OUT))) $(ARGS)

bench-bad-inputs: .venv-bench/.stamp $(LOAD) ## what each bad input costs beside an honest connection (ARGS='--count 100')
	$(BENCH)/python benches/bad_inputs.py $(if $(OUT),--out $(abspath $(OUT))) $(ARGS)

bench-verdict: .venv-bench/.stamp ## what of the targets is met, by the figures in OUT
	$(BENCH)/python benches/verdict.py --write $(or $(OUT),docs/benchmarks)

# The stable toolchain knows the sanitizer's flags when it is told so. Every target runs, also after a finding.
fuzz: fuzzer ## the laws in fuzz/ under libFuzzer (SECONDS_EACH=60 TARGETS='decode broker'; needs cargo-fuzz and a C++ compiler)
	@found=""; \
	for target in $(TARGETS); do \
		echo "+ cargo fuzz run $$target, for $(SECONDS_EACH) s"; \
		mkdir -p fuzz/target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS_EACH) -max_len=1000 -len_control=0 $(ARGS) || found="$$found $$target"; \
	done; \
	[ -z "$$found" ] || { echo "see fuzz/artifacts; these targets failed:$$found" >&2; exit 1; }

fuzz-corpora: fuzzer ## make the small corpora anew out of themselves and what `make fuzz` has found
	@for target in $(TARGETS); do \
		mkdir -p fuzz/target/corpus/$$target; rm -rf fuzz/target/small; mkdir -p fuzz/target/small; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target fuzz/target/small fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-set_cover_merge=1 -use_counters=0 -max_len=1000 || exit 1; \
		rm -rf fuzz/corpus/$$target; mv fuzz/target/small fuzz/corpus/$$target; \
	done

fuzzer:
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "make fuzz needs cargo-fuzz: cargo install --locked cargo-fuzz" >&2; exit 1; }

laws: ## the codec's property tests, with many more cases (CASES=50000)
	PROPTEST_CASES=$(CASES) $(CARGO) test --locked --test it wire::

spec: ## every statement of the standards, with its tests and the code that obeys it
	@RMQTT_SPEC_MATRIX=1 $(CARGO) test --quiet --locked --test it spec::every -- --nocapture

spec-update: ## write docs/conformance.md anew
	RMQTT_SPEC_UPDATE=1 $(CARGO) test --quiet --locked --test it spec::

sim: ## the seeded suites, with many more seeds (SEEDS=20000; RMQTT_SEED=n replays one)
	RMQTT_SEEDS=$(SEEDS) $(CARGO) test --locked --test it -- qos:: pair:: crash:: shared:: sim::

clean: ## remove everything that was built
	rm -rf .venv .venv-demo .venv-bench build dist target fuzz/target tests/python/interop/node/node_modules examples/out .mypy_cache .ruff_cache .pytest_cache
	find python tests examples -name '__pycache__' -prune -exec rm -rf {} +
	rm -f python/rmqtt/_rmqtt*.so
