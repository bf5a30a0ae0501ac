# hull: `make run` shows a container in a microVM, `make test` runs every test. Both install what they need.
.DEFAULT_GOAL := build
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TARGET  := target/x86_64-unknown-linux-gnu
BUILD   := build
ASSETS  := $(BUILD)/lib/hull
PREFIX  ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)

.PHONY: setup kernel build assets run test soak lint install dist clean

setup: ## Install what is missing from Debian
	@tools/setup

kernel: setup
	@mkdir -p $(ASSETS)
	@dir=$$(tools/build-kernel | tail -n 1) && ln -sf "$$dir/vmlinux" "$$dir/System.map" $(ASSETS)/

build: kernel ## Build the guest kernel, the agent and hull into build/
	@echo "building hull and the agent"
	@cargo build --quiet --release --bin hull
	@cargo build --quiet --profile guest --package hull-agent
	@mkdir -p $(BUILD)/bin
	@cp --remove-destination $(TARGET)/release/hull $(BUILD)/bin/hull
	@tools/make-guest $(TARGET)/guest/hull-agent $(BUILD)/bin/hull $(ASSETS)

run: build ## Make a busybox image, load it, and run a container that shows where it is
	@tools/demo $(BUILD)/bin/hull

test: build lint ## Run every test: as an unprivileged user, then as root where we are root
	@tools/test

soak: build ## The same tests with their full counts
	@HULL_SOAK=1 tools/test

lint:
	@cargo fmt --all --check
	@cargo clippy --quiet --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x tools/bench-files tools/build-kernel tools/demo tools/dist tools/make-guest tools/make-image tools/setup tools/start-postgres tools/test .ci/run; fi

install: build ## Install into PREFIX (default /usr/local as root, ~/.local otherwise)
	@install -D $(BUILD)/bin/hull $(PREFIX)/bin/hull
	@mkdir -p $(PREFIX)/lib/hull
	@cp --dereference --sparse=always $(ASSETS)/* $(PREFIX)/lib/hull/
	@echo "installed $(PREFIX)/bin/hull"

dist: build ## One tarball that runs on any x86-64 Linux
	@tools/dist $(BUILD)

clean:
	rm -rf $(BUILD) target
