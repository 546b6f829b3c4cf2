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

.build/cuda.done: deploy/setup/setup deploy/setup/cuda.txt
	@deploy/setup/setup cuda
	@touch $@

.build/deploy-tools.done: deploy/check/setup deploy/check/tools.txt
	@deploy/check/setup
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

# Python with what tests/peers.txt names: $PYTHON, or an environment of its own.
PYTHON ?= python3
PARITY := .build/parity
PARITY_SEED ?= $(shell date +%s)

# Holds the path of the Python to use.
.build/peers-python: tests/peers.txt
	@mkdir -p .build
	@if $(PYTHON) -c 'import torch, transformers, onnxruntime, onnxscript, faiss, usearch' 2>/dev/null; then \
	    $(PYTHON) -c 'import sys; print(sys.executable)' > $@; \
	else \
	    echo "fetching PyTorch and its company from PyPI into .build/peers (6 GB)"; \
	    $(PYTHON) -m venv .build/peers && \
	    .build/peers/bin/pip install --quiet --requirement tests/peers.txt && \
	    echo .build/peers/bin/python > $@; \
	fi

.PHONY: parity
parity: .build/peers-python build ## Compare fresh random checkpoints with the original (5 GB of disk)
	@rm -rf $(PARITY)
	@$$(cat $<) tests/parity/make.py --out $(PARITY) --seed $(PARITY_SEED) --real
	@$$(cat $<) tests/parity/check.py --weimocir $(WEIMOCIR) $(PARITY)
	@rm -rf $(PARITY)

.PHONY: test-faults
test-faults: .build/nats.done build ## Try every fault 20 times on real processes, and count what is lost (half an hour)
	@target/release/fault-suite

.PHONY: fuzz
fuzz: cargo ## Fuzz what reads untrusted bytes, a minute each (needs a nightly Rust)
	@fuzz/run 60

.PHONY: sanitize
sanitize: cargo ## Test what has unsafe blocks under AddressSanitizer (needs a nightly Rust)
	@tests/sanitize

# A folder of further files to submit.
HOSTILE ?=

.PHONY: test-hostile
test-hostile: .build/nats.done build ## Submit hostile files among 1,000 good ones (HOSTILE=FOLDER adds yours), and tell what became of them
	@target/release/hostile-suite $(HOSTILE)

.build/deny.done: deploy/setup/setup deploy/setup/deny.txt
	@deploy/setup/setup deny
	@touch $@

.PHONY: deny
deny: cargo .build/deny.done ## Check licences, sources and bans of all dependencies; advisories where github.com answers
	@.build/deny/bin/cargo-deny check licenses bans sources
	@if git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then \
	    .build/deny/bin/cargo-deny check advisories; \
	else \
	    echo "advisories not checked: the database at github.com cannot be reached"; \
	fi

.PHONY: lint
lint: cargo ## Check format and lints
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets -- --deny warnings

.PHONY: check-deploy
check-deploy: export PATH := $(CURDIR)/.build/deploy-tools/bin:$(PATH)
check-deploy: export PYTHONPATH := $(CURDIR)/.build/deploy-tools
check-deploy: export PYTHONDONTWRITEBYTECODE := 1
check-deploy: .build/deploy-tools.done .build/nats.done ## Check images, Compose and Kubernetes files offline, and that each check sees a mistake
	@python3 deploy/check/check.py
	@python3 deploy/check/selftest.py

.PHONY: images
images: ## Build the containers' images for CPUs (needs Docker; deploy/README.md has more)
	@deploy/images/build cpu

# The GPU to build for, as 10 times its compute capability. Below 90, later ones run the program too.
CUDA_COMPUTE_CAP ?= 80

.PHONY: check-cuda
check-cuda: export PATH := $(CURDIR)/.build/cuda/bin:$(PATH)
check-cuda: export CUDA_HOME := $(CURDIR)/.build/cuda
check-cuda: export CUDA_COMPUTE_CAP := $(CUDA_COMPUTE_CAP)
check-cuda: cargo .build/cuda.done ## Build the workers for GPUs, without a GPU (long, not part of CI; 100 MB)
	@deploy/setup/setup cuda-stubs
	@time cargo build --release --locked --target-dir target/cuda --features cuda \
	    --package weimocir-encode --package weimocir-caption --package weimocir-cli

# Stands for tests/browser's own tools.
tests/browser/node_modules/.package-lock.json: tests/browser/package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 with npm is needed: see https://nodejs.org" >&2; exit 1; }
	@npm --prefix tests/browser ci --no-fund --no-audit

.PHONY: test-browser
test-browser: tests/browser/node_modules/.package-lock.json .build/nats.done build ## Use the search page in Chromium, alone and against a whole pipeline
	@npm --prefix tests/browser test
	@tests/with-gallery npm --prefix tests/browser run browser

.PHONY: screenshots
screenshots: tests/browser/node_modules/.package-lock.json .build/nats.done build ## Draw the README's pictures of the search page
	@tests/with-gallery npm --prefix tests/browser run screenshots

.PHONY: bench-page
bench-page: tests/browser/node_modules/.package-lock.json ## Measure how long the search page takes to draw an answer
	@npm --silent --prefix tests/browser run drawing

# Python with what tests/http.txt names.
.build/http-python: tests/http.txt
	@mkdir -p .build
	@python3 -m venv .build/http && .build/http/bin/pip install --quiet --requirement tests/http.txt && touch $@

.PHONY: test-http
test-http: .build/http-python .build/nats.done build ## Check the HTTP interface against its own description (schemathesis)
	@tests/with-gallery bash -c 'curl -sf "$$BASE_URL/v1/openapi.json" | .build/http/bin/openapi-spec-validator - && \
	    .build/http/bin/schemathesis run "$$BASE_URL/v1/openapi.json" --max-examples 100 --exclude-checks positive_data_acceptance'

.PHONY: bench-pipeline
bench-pipeline: .build/nats.done build ## Measure throughput and latency of the whole pipeline
	@target/release/bench-pipeline

.PHONY: bench-backlog
bench-backlog: .build/nats.done build ## Measure searches and memory while 50,000 pictures wait for the encoder (5 minutes)
	@target/release/bench-backlog

.PHONY: bench-scaling
bench-scaling: .build/nats.done build ## Measure how rates grow with encode workers, stores and query workers (simulated devices; 15 minutes)
	@target/release/bench-scaling

.PHONY: bench-autoscale
bench-autoscale: .build/nats.done build ## Replay a day's load on workers that KEDA's rules start and stop, and draw it (10 minutes)
	@target/release/bench-autoscale

.PHONY: bench-gateway
bench-gateway: .build/nats.done build ## Measure searches over HTTP beside NATS, and many clients at once
	@target/release/bench-gateway

.PHONY: bench-encode
bench-encode: .build/peers-python build ## Measure images and texts per second beside PyTorch and ONNX Runtime
	@target/release/bench-encode --python "$$(cat $<)"

.PHONY: bench-index
bench-index: .build/peers-python build ## Measure search beside FAISS and usearch (half an hour; 20 GB of memory, 10 GB of disk)
	@rm -rf .build/bench-index
	@target/release/bench-index --python "$$(cat $<)"
	@rm -rf .build/bench-index

.PHONY: bench-store
bench-store: .build/nats.done build ## Measure a store of a million images: start, memory, and what kills lose (half an hour; 60 GB of disk)
	@target/release/bench-store

.PHONY: eval
eval: build ## Evaluate the bundled model on the held-out catalogue: tables, report and the README's heat-map
	@target/release/weimocir eval catalogue --data .weimocir/catalogue --out .weimocir/catalogue-eval \
	    --sweep 0.05 --ablation --tune 1
	@cp .weimocir/catalogue-eval/plane.png docs/catalogue-plane.png

.PHONY: bench-eval
bench-eval: .build/peers-python build ## Measure a 21x21 plane beside the published way (10 minutes)
	@target/release/bench-eval --python "$$(cat $<)"

.PHONY: bench-retrieval
bench-retrieval: .build/nats.done build ## Measure recall on the held-out catalogue, through the pipeline
	@target/release/bench-retrieval

.PHONY: clean
clean: ## Remove what was built and fetched, and the local gallery
	rm -rf target .build .weimocir
