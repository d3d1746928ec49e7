# Two commands: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run check test soak bench fmt clippy deny build release clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## build Kettle and start it on http://127.0.0.1:8080, data in ./data
	@echo "==> building (the first time takes some minutes)"
	cargo build --release -p kettle
	@echo "==> starting; stop with Ctrl-C"
	target/release/kettle serve $(ARGS)

check: ## the quick loop: format, lints, unit tests
	@echo "==> format";     cargo fmt --all --check
	@echo "==> clippy";     cargo clippy --workspace --all-targets -- -D warnings
	@echo "==> unit tests"; cargo test --workspace --lib --bins

test: ## everything: format, lints, dependencies, all tests on SQLite and PostgreSQL, real clients
	@scripts/install-test-tools
	@echo "==> format";       cargo fmt --all --check
	@echo "==> clippy";       cargo clippy --workspace --all-targets -- -D warnings
	@echo "==> dependencies"; target/tools/bin/cargo-deny --log-level error check licenses bans sources
	@echo "==> build";        cargo build -p kettle
	@echo "==> tests";        cargo test --workspace

MINUTES ?= 10
soak: ## let nodes, database and broker fail at random for long (MINUTES=10, SEED=7 repeats one)
	@scripts/install-test-tools
	cargo build -p kettle
	KETTLE_SOAK=$(MINUTES) $(if $(SEED),KETTLE_SEED=$(SEED)) cargo test -p kettle-tests --test it -- cluster::history cluster::faults --nocapture --test-threads 1

bench: ## measure Kettle on PostgreSQL beside a bare handler (ARGS="--seconds 5")
	cargo build --release -p kettle -p kettle-bench
	target/release/kettle-bench run $(ARGS)

release: ## the release binary, target/release/kettle
	cargo build --release -p kettle

fmt: ## format the code
	cargo fmt --all

clean: ## remove what was built
	cargo clean
