# `make help` shows what there is. Everything here also runs as plain go commands: make only remembers the flags.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# Without cgo everywhere: that is what is shipped, and it spares machines without gcc, and everyone the C SQLite in gorm's driver.
TOOL := CGO_ENABLED=0 $(GO) tool -modfile=internal/tools/go.mod
BUILD := CGO_ENABLED=0 $(GO) build -ldflags='-s -w'

IN_CI := $(filter-out 0 false,$(CI))
# The race detector needs gcc and makes tests several times slower: CI pays for that, or you with RACE=1.
RACE ?= $(if $(IN_CI),$(if $(shell command -v gcc),1))
RACEFLAG := $(if $(filter-out 0,$(RACE)),-race)
CGO := $(if $(RACEFLAG),1,0)
# In CI no result may come from a cache.
TESTFLAGS ?= $(if $(IN_CI),-count=1 )-timeout=20m
# These hold real servers to times. In CI each has the machine to itself: two at once on two cores miss their deadlines.
TIMED := $(if $(IN_CI),$(addprefix %/internal/,app attacks failures faultlab redisstore sqlstore))
# The version before this one, where the history has it; empty otherwise.
OLD = $$(ls $(CURDIR)/bin/signet-old 2>/dev/null)
PACKAGES = $(shell $(GO) list ./...)

ARGS ?=
BENCH ?= .
# More packages have benchmarks of their own: BENCHED=./... runs them all, which takes long.
BENCHED ?= ./internal/app ./internal/bench
COUNT ?= 1
FUZZTIME ?= 30s
CYCLES ?= $(if $(FAULT),20,300)
RESTARTS ?= 100
ROTATIONS ?= 200
RUNS ?= 20
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Every day

.PHONY: build
build: ## Build the static binary bin/signet
	$(BUILD) -o bin/signet ./cmd/signet

.PHONY: run
run: build ## Build, then run a throw-away server with a demo client (ARGS='--listen 127.0.0.1:9000')
	@exec bin/signet dev $(ARGS)

.PHONY: test
test: clock old ## Run all tests; with -race in CI or on RACE=1 (TESTFLAGS='-run Token')
	@mkdir -p bin
	CGO_ENABLED=$(CGO) $(GO) build $(RACEFLAG) -o bin/signet-test ./cmd/signet
	@export SIGNET_TEST_BINARY=$(CURDIR)/bin/signet-test SIGNET_TEST_CLOCK_BINARY=$(CURDIR)/bin/signet-clock \
		SIGNET_TEST_OLD_BINARY=$(OLD) CGO_ENABLED=$(CGO); status=0; \
	for packages in '$(filter-out $(TIMED),$(PACKAGES))' $(if $(TIMED),'-p=1 $(filter $(TIMED),$(PACKAGES))'); do \
		$(GO) test $(RACEFLAG) $(TESTFLAGS) $$packages || status=1; \
	done; \
	exit $$status

# The binary whose clocks tests can move. The first time, that builds most of Go's library anew.
.PHONY: clock
clock:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) run ./internal/servertest/build clock bin/signet-clock

# The version that TestOldBesideNew runs: built before the tests, because they share the machine with one another.
.PHONY: old
old:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) run ./internal/servertest/build old bin/signet-old

.PHONY: lint
lint: ## Check style, bugs and import rules
	$(TOOL) golangci-lint run ./...

.PHONY: fmt
fmt: ## Format the code as lint wants it
	$(TOOL) golangci-lint fmt ./...

.PHONY: clean
clean: ## Remove what make has built
	rm -rf bin dist

## Before a release

.PHONY: conformance
conformance: ## Check each row of docs/conformance.md over HTTP against the real binary
	@CGO_ENABLED=0 $(GO) test ./internal/conformance -count=1 -run Conformance -v | awk "$$COUNT_TESTS"

.PHONY: interop
interop: ## Let other people's OAuth and JWT libraries use the server (npm ones need Node 20)
	CGO_ENABLED=0 $(GO) test -count=1 -run Interop ./internal/...

.PHONY: faults
faults: build clock ## Kill servers and stores CYCLES times (300) among other faults; FAULT=a,b for these only, FAULT=list, START=80ms for a slow PostgreSQL, SEED=n, RESULTS=file
	SIGNET_TEST_BINARY=$(CURDIR)/bin/signet SIGNET_TEST_CLOCK_BINARY=$(CURDIR)/bin/signet-clock FAULTS_CYCLES=$(CYCLES) FAULTS_ONLY=$(FAULT) FAULTS_SEED=$(SEED) FAULTS_START=$(START) \
		FAULTS_RESULTS=$(if $(RESULTS),$(abspath $(RESULTS))) \
		CGO_ENABLED=0 $(GO) test ./internal/faultlab -run '^TestFaults$$' -v -count=1 -timeout 0

.PHONY: rolling
rolling: build ## Restart replicas RESTARTS times (100) under load, then rotate keys ROTATIONS times (200) under verifiers that cache
	SIGNET_TEST_BINARY=$(CURDIR)/bin/signet ROLLING=$(RESTARTS) ROTATIONS=$(ROTATIONS) \
		CGO_ENABLED=0 $(GO) test ./internal/faultlab -run '^Test(Rolling|Rotations)$$' -v -count=1 -timeout 0

.PHONY: rows
rows: build clock old ## Run what shows each row of docs/failure-modes.md RUNS times (20); PKG=./internal/x or PKG=faults for that part, RESULTS=file
	SIGNET_TEST_BINARY=$(CURDIR)/bin/signet SIGNET_TEST_CLOCK_BINARY=$(CURDIR)/bin/signet-clock ROWS_RUNS=$(RUNS) ROWS_PKG=$(PKG) ROWS_RESULTS=$(if $(RESULTS),$(abspath $(RESULTS))) \
		SIGNET_TEST_OLD_BINARY=$(OLD) CGO_ENABLED=0 $(GO) test ./internal/doctest -run '^TestRows$$' -v -count=1 -timeout 0

.PHONY: model
model: ## Check the model of the revocation protocol (needs spin and gcc; FULL=1 for the long runs, ARGS=WORD for some)
	@docs/revocation/check.sh $(ARGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@found=0; \
	while IFS=: read -r file target; do \
		found=$$((found + 1)); \
		echo "== $$target in $$(dirname "$$file"), $(FUZZTIME)"; \
		CGO_ENABLED=0 $(GO) test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) < /dev/null; \
	done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal pkg 2>/dev/null | sed 's/func //' | sort); \
	echo "$$found fuzz targets, no failure"

.PHONY: bench
bench: build ## Measure the server; BENCH_TOKENS=1000000 BENCH_CLIENTS=1000000 for the figures of docs/performance.md
	@if [ -f bin/bench.txt ]; then mv bin/bench.txt bin/bench.old.txt; fi
	SIGNET_TEST_BINARY=$(CURDIR)/bin/signet CGO_ENABLED=0 $(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 0 $(BENCHED) | tee bin/bench.txt

.PHONY: benchstat
benchstat: ## Compare the last two runs of make bench
	$(TOOL) benchstat bin/bench.old.txt bin/bench.txt

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the binary calls (needs the vulnerability database)
	@$(TOOL) govulncheck ./... || { \
		echo 'govulncheck failed. If it could not reach its database, then nothing was checked: do not call that clean.' >&2; exit 1; }

.PHONY: deadcode
deadcode: ## List functions that neither the binary nor a test reaches
	$(TOOL) deadcode -test ./...

.PHONY: release
release: ## Build dist/ for Linux and macOS on amd64 and arm64, with SHA256SUMS
	rm -rf dist && mkdir dist
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*}; arch=$${platform#*/}; out="dist/signet_$(VERSION)_$${os}_$${arch}"; \
		echo "$$out"; \
		GOOS=$$os GOARCH=$$arch $(BUILD) -trimpath -o "$$out" ./cmd/signet; \
	done
	@cd dist && { if command -v sha256sum > /dev/null; then sha256sum signet_*; else shasum -a 256 signet_*; fi; } > SHA256SUMS
	@cat dist/SHA256SUMS

# Counts the tests that have no sub-tests in the output of go test -v, shows what failed, and ends with one line. A test
# that fails by itself, and not by a sub-test, counts too.
define COUNT_TESTS
/^ *--- (PASS|FAIL|SKIP): / {
	result[$$3] = substr($$2, 1, 4)
	if ($$2 != "PASS:") print
	next
}
/^ *=== (RUN|PAUSE|CONT|NAME)/ || /^(PASS|FAIL)$$/ { next }
{ print }
END {
	for (name in result) {
		parent = name
		while (sub(/\/[^\/]*$$/, "", parent)) {
			parents[parent] = 1
			if (result[name] == "FAIL") explained[parent] = 1
		}
	}
	for (name in result) {
		if (name in parents && (result[name] != "FAIL" || name in explained)) continue
		n[result[name]]++
	}
	printf "%d passed, %d failed", n["PASS"], n["FAIL"]
	if (n["SKIP"]) printf ", %d skipped", n["SKIP"]
	print ""
	exit n["FAIL"] > 0 || n["PASS"] == 0
}
endef
export COUNT_TESTS
