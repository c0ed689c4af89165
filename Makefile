# The two commands that matter: `cargo run --release -- serve --dev` and `make test`.

CARGO ?= cargo

.PHONY: build test lint proto bench deny

## Builds the programs for use.
build:
	$(CARGO) build --release --workspace --bins

## Passes every test: unit, flow, system, and the example receivers.
test:
	./scripts/test

## Checks what a tool can check.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

## Writes what is generated from the code anew: contracts/, the page of settings, the help of harborctl.
proto:
	UPDATE_GOLDEN=1 $(CARGO) test -p harbor-api openapi
	UPDATE_GOLDEN=1 $(CARGO) test -p harbor-server reference
	UPDATE_GOLDEN=1 $(CARGO) test -p harborctl cli

## Measures by bench.toml and prints the tables of docs/benchmarks.md.
bench:
	$(CARGO) run --release -p harbor-bench -- all

## Checks licences, sources and duplicate crates; needs cargo-deny.
deny:
	$(CARGO) deny check bans licenses sources
