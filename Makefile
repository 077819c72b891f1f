# make run and make test do all the set-up they need. Everything else is for people who work on rocketd.

SHELL := /bin/bash
E2E_TIMEOUT ?= 50m
FUZZTIME ?= 20s
RUN ?= .

.PHONY: build run test test-go test-e2e powercut test-java test-suite nemesis lint fmt generate fuzz bench clean toolchain

build: toolchain        ## one static binary, ./rocketd
	CGO_ENABLED=0 go build -trimpath -o rocketd ./cmd/rocketd

run: build              ## NameServer and broker in one process, data in ./rocketd-data
	./rocketd $(ARGS)

toolchain:
	@tools/toolchain go

test: test-go test-e2e  ## everything: fast tests with the race detector, then real clients and servers

test-go: toolchain
	@tools/toolchain race
	go vet ./...
	go vet -tags e2e ./e2e
	go test -race -timeout 20m ./...

test-e2e: toolchain     ## RUN=TestCrash chooses, E2E_ROUNDS=200 sets the rounds of kill -9 (e2e/doc.go)
	@tools/toolchain peers ext4
	cd e2e && go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '$(RUN)'

powercut: toolchain     ## cuts the power of a broker's file system E2E_CUTS times; wants root and a loop device, else says so
	@tools/toolchain ext4
	cd e2e && E2E_CUTS=$${E2E_CUTS:-200} go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '^TestPowerCut$$'

test-java: toolchain    ## the same tests against Java's servers, which proves the tests; and what pairs those with ours
	@tools/toolchain peers
	cd e2e && E2E_SERVER=java E2E_ROUNDS=$${E2E_ROUNDS:-4} go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -run '$(RUN)'

test-suite: toolchain   ## the Java project's own integration tests (e2e/suite); RUN=OrderMsgIT chooses, E2E_SERVER=java runs them against Java's
	@tools/toolchain peers
	cd e2e && E2E_SUITE=1 go test -tags e2e -count=1 -parallel $${E2E_PARALLEL:-3} -timeout 3h -run '^TestSuite$$/$(RUN)' -v

nemesis: toolchain      ## replication under faults: 100,000 simulated ones, then 500 on real processes (SIM_FAULTS, E2E_FAULTS, E2E_SEED)
	SIM_FAULTS=$${SIM_FAULTS:-100000} go test -count=1 -timeout 4h -run 'TestCluster$$' -v ./sim
	cd e2e && E2E_FAULTS=$${E2E_FAULTS:-500} go test -tags e2e -count=1 -timeout 4h -run 'TestNemesis' -v

lint: toolchain
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go tool -modfile=tools/go.mod golangci-lint run

fmt:
	gofmt -w $$(git ls-files '*.go')

generate: toolchain
	go generate ./...

fuzz: toolchain         ## each fuzz target for FUZZTIME
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

bench: toolchain        ## Go benchmarks; `rocketd bench` measures running brokers
	go test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf rocketd e2e/peers/node/node_modules
