# The two commands that matter: `cargo run --release -- serve --dev` and `make test`.

CARGO ?= cargo

.PHONY: build test soak sim lint proto bench deny

## Builds the programs for use.
build:
	$(CARGO) build --release --workspace --bins

## Passes every test: unit, flow, system, the example receivers, and the providers of sources.
test:
	./scripts/test

## Passes the tests that take minutes, on both stores: crashes, frozen workers, lost databases.
soak:
	$(CARGO) build --workspace --bins
	./scripts/services run $(CARGO) test -p harbor-testkit --test system -- --ignored --nocapture
	./scripts/services run $(CARGO) test -p harbor-store million -- --ignored --nocapture
	HARBORHOOK_TEST_STORE=postgres ./scripts/services run \
		$(CARGO) test -p harbor-testkit --test system crash -- --ignored --nocapture

## Plays random steps against the engine: SEEDS=10000 of them from FROM on, or SEED=n alone with its trace.
sim:
	SEEDS=$(SEEDS) FROM=$(FROM) SEED=$(SEED) $(CARGO) test --release -p harbor-testkit --test sim -- \
		--ignored --nocapture

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
