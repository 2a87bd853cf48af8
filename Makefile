# Everything that is built lands in _output; `make clean` removes it.
#
#   make             what there is to make
#   make demo        capmgr's story on this machine, told and checked
#   make test        everything, on a control plane of its own
#   make verify      what a change must pass besides its tests

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

OUTPUT  := _output
BIN     := $(OUTPUT)/bin
MODULE  := github.com/capmgr/capmgr
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The version comes by ldflags: asking git again in every build fails where the tree is another
# user's. The module's own pins decide, not a go.work above it.
export GOFLAGS := $(strip $(filter-out -buildvcs%,$(GOFLAGS)) -buildvcs=false)
export GOWORK  := off
# Tests start the control plane in _output, whatever folder they run in.
export CAPMGR_OUTPUT := $(CURDIR)/$(OUTPUT)

# A test binary that hangs ends with its goroutines printed. Shuffled, so that no test comes to
# lean on another; the seed is printed. The end-to-end tests wait for real controllers, so each
# package may take minutes.
TESTFLAGS ?=
GOTEST = go test -race -shuffle=on -timeout 20m $(TESTFLAGS)

# One line for each thing that is done, alike on a terminal and in a log.
say = printf '%-10s %s\n'
news = { grep -v ': up to date$$' || true; }

##@ Use

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-16s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\n'

.PHONY: build
build: ## build capmgr into _output/bin
	@$(say) build "$(BIN)/capmgr $(VERSION)"
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/capmgr ./cmd/capmgr

.PHONY: demo
demo: tools build fakeaws ## tell and check capmgr's story on this machine; KEEP=1 leaves it running
	@$(say) build $(BIN)/demo
	@go build -o $(BIN)/demo ./test/demo
	@$(BIN)/demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: demo-down
demo-down: ## end a demo that was left running
	@go build -o $(BIN)/demo ./test/demo
	@$(BIN)/demo --down

.PHONY: clean
clean: ## remove what was built
	@$(say) clean $(OUTPUT)
	@rm -rf $(OUTPUT)

##@ Test

.PHONY: test
test: tools build fakeaws ## run all tests with the race detector, end-to-end tests included
	@$(say) compile 'everything, with the race detector'
	@# Before and not beside the tests: those that wait for real controllers want the processor.
	@go build -race ./...
	@$(say) test 'all packages'
	@$(GOTEST) ./...

.PHONY: test-unit
test-unit: ## run the tests that need no control plane
	@$(say) test 'packages that start no control plane'
	@$(GOTEST) $$(go list -f '{{.ImportPath}}: {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... \
	  | grep -v -E '$(MODULE)/test/(localcluster|stack)( |:|$$)' | cut -d : -f 1)

.PHONY: test-properties
test-properties: ## check the properties of decisions on 250,000 random clusters
	@$(say) test 'properties of decisions'
	@go test -race -timeout 30m ./pkg/scheduler -run 'TestDecision|TestNoGang|TestNobody' -rapid.checks=50000

.PHONY: test-ray
test-ray: ## check the client of Ray's GCS against a real Ray from its wheel; UPDATE=1 records vectors
	@$(say) test 'a real Ray; a minute more the first time'
	@TESTFLAGS='$(TESTFLAGS)' test/ray/run.sh $(if $(filter-out 0,$(UPDATE)),-update)

.PHONY: test-kubelet
test-kubelet: tools build fakeaws ## run a real RayCluster on a real kubelet beside the control plane; as root, with containerd
	@$(say) test 'a real node; minutes more the first time'
	@TESTFLAGS='$(TESTFLAGS)' test/kubelet/run.sh

.PHONY: test-faults
test-faults: ## run 10,000 seeds of the loop, and of worker groups, with random faults in virtual time; SEEDS=n sets the number, FROM=n the first
	@$(say) test '$(SEEDS) seeds from $(FROM), those that ever failed first'
	@mkdir -p $(OUTPUT)
	@go test -c -o $(OUTPUT)/faults.test ./test/faults
	@# One process for each processor: the bubbles of virtual time share a source of jitter in one.
	@n=$$(nproc); each=$$(( ($(SEEDS) + n - 1) / n )); \
	  seq 0 $$((n - 1)) | xargs -P "$$n" -I{} bash -c \
	    "$(OUTPUT)/faults.test -test.timeout 6h -faults.runs $$each -faults.crews $$each -faults.from \$$(( $(FROM) + {} * $$each ))"

SEEDS ?= 10000
FROM  ?= 1

.PHONY: bench
bench: tools build fakeaws ## measure, into _output/bench.json
	@$(say) bench $(OUTPUT)/bench.json
	@go run ./test/bench --output $(OUTPUT)/bench.json

##@ Check

.PHONY: verify
verify: verify-format verify-house verify-picture verify-generated verify-tidy verify-vet lint ## check all but behaviour: the seven checks below
	@$(say) verify passed

.PHONY: verify-format
verify-format: ## check that gofmt has nothing to say
	@$(say) format 'gofmt'
	@unformatted=$$(gofmt -l api cmd deploy pkg test tools); \
	  [[ -z $$unformatted ]] || { echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; }

.PHONY: verify-vet
verify-vet: ## run go vet
	@$(say) vet 'go vet'
	@go vet ./...

.PHONY: lint
lint: ## run the linters of .golangci.yaml
	@$(say) lint '.golangci.yaml'
	@tools/build.sh lint | $(news)
	@$(BIN)/golangci-lint run ./...

.PHONY: verify-generated
verify-generated: ## check that generated code is what generating gives
	@$(say) generated 'deep copies, protocols'
	@sums() { find api pkg \( -name 'zz_generated*' -o -name '*.pb.go' \) -print0 | sort -z | xargs -0 -r sha256sum; }; \
	  before=$$(sums); tools/codegen/generate.sh; after=$$(sums); \
	  [[ $$before == "$$after" ]] || { echo 'generated files were out of date and are new now; commit them:'; \
	    diff <(echo "$$before") <(echo "$$after") | awk '/^[<>]/ { print "  " $$3 }' | sort -u; exit 1; }

.PHONY: verify-tidy
verify-tidy: ## check that every go.mod and go.sum is tidy
	@for module in . tools/*/; do \
	  [[ -e $$module/go.mod ]] || continue; \
	  $(say) tidy "$${module%/}"; \
	  go -C "$$module" mod tidy -diff; \
	done

.PHONY: verify-house
verify-house: ## check who imports whom, and that deciding stays pure
	@$(say) house 'rules of the house'
	@go test -count=1 ./test/house

.PHONY: verify-picture
verify-picture: ## check that docs/architecture.svg shows the imports as they are
	@$(say) picture docs/architecture.svg
	@go run ./tools/architecture | cmp -s - docs/architecture.svg \
	  || { echo "docs/architecture.svg shows another house; run 'make picture'"; exit 1; }

##@ Make

.PHONY: tools
tools: ## build the outside programs of the local control plane into _output
	@$(say) tools 'the local control plane; minutes the first time'
	@tools/build.sh | $(news)

.PHONY: fakeaws
fakeaws: ## build the played AWS into _output/bin
	@$(say) build $(BIN)/fakeaws
	@CGO_ENABLED=0 go build -trimpath -o $(BIN)/fakeaws ./test/fakeaws/cmd

.PHONY: generate
generate: ## write the deep copies of the API types and the protocol code anew
	@$(say) generate 'deep copies, protocols'
	@tools/codegen/generate.sh

.PHONY: picture
picture: ## draw docs/architecture.svg from the imports
	@$(say) picture docs/architecture.svg
	@mkdir -p $(OUTPUT)
	@go run ./tools/architecture >$(OUTPUT)/architecture.svg
	@mv $(OUTPUT)/architecture.svg docs/architecture.svg
