# kat: build it, run it, prove it, measure it.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps run test bench fuzz lint peers clients

# Outside the checkout, because compiled RocksDB should outlive it. Everything
# is built in the release profile, so that RocksDB is compiled once.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kat/target
TARGET := $(abspath $(CARGO_TARGET_DIR))
PEERS := $(TARGET)/peers
CLIENTS := $(TARGET)/clients

help:
	@echo 'make deps    install what a bare Debian lacks, if it lacks it'
	@echo 'make run     build kat-agent and start a node in the foreground'
	@echo 'make test    check and test everything (KAT_SLOW=1: the long way)'
	@echo 'make bench   measure side by side with stock etcd (BENCH=--quick: roughly)'
	@echo 'make fuzz    throw bytes at requests, JSON and files (FUZZ_SECONDS=60 each)'
	@echo 'make lint    check format, lints and documentation'
	@echo 'make peers   build stock etcd and its tools, to compare with'
	@echo "make clients install other people's clients, to be driven by"
	@echo
	@echo 'Compiled in $(TARGET) (CARGO_TARGET_DIR)'

run: deps
	@echo '==> building kat-agent; the first time compiles RocksDB, for many minutes'
	cargo build --release
	@echo '==> starting a node; Ctrl-C stops it'
	exec '$(TARGET)/release/kat-agent' init --config examples/cluster.kat

# Most tests wait for processes most of the time, so that there is room for more
# at once than there are cores.
TEST_THREADS := 6

# The stock programs first: a missing Go should not be found after RocksDB.
test: deps peers clients lint
	@echo '==> tests: house rules, scripts, simulation, real processes'
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --release
	@sed 's/^/SKIPPED: /' '$(CLIENTS)/skipped' >&2
	@echo '==> all tests passed'

bench: deps peers
	@echo '==> kat, stock etcd and an empty handler, in turn'
	cargo bench --bench sidebyside -- $(BENCH)

# Findings and what was learnt stay in $(FUZZ). The names of paths and fields are
# the gateway's dictionary, for the code that compares them is not kat's.
FUZZ_SECONDS := 60
FUZZ_TARGETS := requests json bolt
FUZZ := $(TARGET)/fuzz
FUZZER := $(TARGET)/release/kat-fuzz
CORPUS := tests/fuzz/corpus

fuzz: deps
	@echo '==> building the fuzzer'
	RUSTC_WORKSPACE_WRAPPER='$(CURDIR)/tests/fuzz/rustc.sh' \
		cargo build --release --package kat-fuzz
	@mkdir -p '$(FUZZ)'
	@{ sed -n 's/^ *[^/]* \([A-Za-z_]*\) = [0-9]*[^0-9]*$$/"\\"\1\\":"/p' proto/etcd/*.proto; \
		sed -n 's/^    ("\([a-z/]*\)", "[a-z0-9]*pb\..*/"\/v3\/\1"/p' src/api/gateway/routes.rs; \
	} | LC_ALL=C sort -u >'$(FUZZ)/json.dict'
	@for target in $(FUZZ_TARGETS); do \
		echo "==> fuzzing $$target for $(FUZZ_SECONDS) seconds"; \
		mkdir -p '$(FUZZ)'/$$target; \
		dictionary=; [ $$target != json ] || dictionary='-dict=$(FUZZ)/json.dict'; \
		KAT_FUZZ=$$target KAT_SEEDS='$(FUZZ)'/$$target '$(FUZZER)' $$dictionary -max_len=4096 \
			-timeout=10 -rss_limit_mb=2048 -max_total_time=$(FUZZ_SECONDS) \
			-print_final_stats=1 -print_funcs=0 -verbosity=0 -artifact_prefix='$(FUZZ)/found-'$$target- \
			'$(FUZZ)'/$$target || { \
		found=$$(ls -t '$(FUZZ)'/found-$$target-* | head -n 1); \
		echo "error: $$target went wrong; once more:" >&2; \
		echo "  KAT_FUZZ=$$target '$(FUZZER)' '$$found'" >&2; \
		echo "  fix: then have make test know it:" >&2; \
		echo "  { od -An -v -tx1 '$$found' | tr -d '[:space:]'; echo; } >>$(CORPUS)/$$target.hex" >&2; \
		exit 1; }; \
	done

lint: deps
	@echo '==> format, lints, documentation; the first time compiles RocksDB'
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps --document-private-items

# g++ and libclang are RocksDB's needs, protoc and its files etcd-client's.
APT := apt-get install --yes --no-install-recommends
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

deps:
	@echo '==> looking for what the build needs'
	@missing=''; \
	need() { printf '    %-14s' "$$1"; shift; pkg=$$1; shift; \
		if "$$@" >/dev/null 2>&1; then echo found; \
		else echo "missing: $$pkg"; missing="$$missing $$pkg"; fi; }; \
	any() { for path; do [ ! -e "$$path" ] || return 0; done; return 1; }; \
	need 'C++ compiler' g++ sh -c 'command -v c++'; \
	need libclang libclang-dev any /usr/lib/llvm-*/lib/libclang.so \
		/usr/lib/*/libclang.so /usr/lib*/libclang.so "$$LIBCLANG_PATH"/libclang.*; \
	need protoc protobuf-compiler sh -c 'command -v "$${PROTOC:-protoc}"'; \
	need 'proto files' libprotobuf-dev any /usr/include/google/protobuf/descriptor.proto \
		/usr/local/include/google/protobuf/descriptor.proto "$$PROTOC_INCLUDE"/google; \
	[ -z "$$missing" ] || { \
		if ! command -v apt-get >/dev/null; then as=; \
		elif [ "$$(id -u)" = 0 ]; then as=env; \
		elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; \
		then as=sudo; else as=; fi; \
		if [ -n "$$as" ]; then echo "==> installing:$$missing"; \
			$$as apt-get update && $$as $(APT) $$missing; else false; fi || { \
		echo "error: cannot install what the build lacks" >&2; \
		echo "  fix: as root, $(APT)$$missing" >&2; exit 1; }; }
	@have=$$(rustc --version 2>/dev/null | cut -d' ' -f2); \
	command -v cargo >/dev/null || have=; \
	printf '    %-14s%s\n' Rust "$${have:-missing}"; \
	[ -n "$$have" ] && printf '%s\n' $(RUST) "$$have" | sort -CV || { \
		echo 'error: kat needs Rust $(RUST) or newer, with cargo' >&2; \
		echo '  fix: follow https://rustup.rs' >&2; exit 1; }
	@$(HAVE_GO) || have="missing: make test needs $(GO) or newer"; \
	printf '    %-14s%s\n' Go "$${have#go}"

# Go is needed by the tests and the bench alone. A missing program or another version is
# (re)built; Go's own cache makes that quick. As released, etcd has no cgo.
GO := $(shell sed -n 's/^go //p' tests/peers/go.mod)
HAVE_GO = have=$$(cd tests/peers && go env GOVERSION 2>/dev/null); \
	[ -n "$$have" ] && printf '%s\n' $(GO) "$${have\#go}" | sort -CV
ETCD := go.etcd.io/etcd
$(PEERS)/etcd: PACKAGE := $(ETCD)/server/v3
$(PEERS)/etcdctl: PACKAGE := $(ETCD)/etcdctl/v3
$(PEERS)/etcdutl: PACKAGE := $(ETCD)/etcdutl/v3
$(PEERS)/benchmark: PACKAGE := $(ETCD)/v3/tools/benchmark

peers: $(PEERS)/etcd $(PEERS)/etcdctl $(PEERS)/etcdutl $(PEERS)/benchmark

$(PEERS)/%: tests/peers/go.mod tests/peers/go.sum
	@echo '==> building stock $*, for comparison'
	@$(HAVE_GO) || { \
		echo 'error: the tests compare kat with stock etcd, which needs Go $(GO) or newer' >&2; \
		echo '  fix: follow https://go.dev/doc/install' >&2; exit 1; }
	mkdir -p '$(PEERS)'
	cd tests/peers && CGO_ENABLED=0 GOFLAGS=-mod=mod \
		go build -trimpath -ldflags='-s -w' -o '$@' $(PACKAGE) && touch '$@'

# What cannot be installed is skipped by the tests, and named here and at their end.
clients:
	@echo "==> installing other people's clients of etcd"
	@sh tests/clients/install.sh '$(CLIENTS)'
