# `make help` lists the targets. Everything that is fetched or built stays in .build and target.
SHELL := /bin/bash
.DEFAULT_GOAL := help
WEIMOCIR := target/release/weimocir
export WEIMOCIR_NATS_SERVER := $(CURDIR)/.build/nats-server

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

# Stamps, because a link has the age of what it points to.
.build/nats.done: deploy/setup/setup deploy/setup/nats-server.txt
	@deploy/setup/setup nats
	@touch $@

.build/python.done: deploy/setup/setup deploy/setup/python.txt
	@deploy/setup/setup python
	@touch $@

.PHONY: setup
setup: cargo .build/nats.done .build/python.done ## Fetch what is missing (nats-server, Python client)

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { echo "Rust is needed: see https://rustup.rs" >&2; exit 1; }

.PHONY: build
build: cargo ## Build every program
	@cargo build --release --locked --workspace

.PHONY: demo
demo: .build/nats.done build ## Show the whole pipeline at work on a sample gallery, and stop
	@$(WEIMOCIR) demo

.PHONY: up
up: .build/nats.done build ## Keep NATS and all workers running (Ctrl-C stops)
	@$(WEIMOCIR) up --with-nats

.PHONY: test
test: setup build ## Run every test
	@PYTHONPATH=$(CURDIR)/.build/python cargo test --release --locked --workspace --lib --bins --tests

.PHONY: lint
lint: cargo ## Check format and lints
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets -- --deny warnings

.PHONY: bench-pipeline
bench-pipeline: .build/nats.done build ## Measure throughput and latency of the whole pipeline
	@target/release/bench-pipeline

.PHONY: bench-retrieval
bench-retrieval: .build/nats.done build ## Measure recall on the held-out catalogue, through the pipeline
	@target/release/bench-retrieval

.PHONY: clean
clean: ## Remove what was built and fetched, and the local gallery
	rm -rf target .build .weimocir
