# gatemilter: see README.md. Needs Go (see go.mod) and, for the parts that run a
# real Postfix or Sendmail, root on Debian: these install Debian's postfix package
# if it is missing, and never touch an existing configuration.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 30s
# The package's version is the tag's, or the tag's and how far we are past it: 0.1.0, 0.2.0~rc1, 0.1.0+5.abc1234.
DEB_VERSION ?= $(or $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | \
	sed 's/^v//; s/-rc/~rc/; s/-\([0-9]*\)-g/+\1./'),0.1.0)
DEB_OUTPUT  ?= build

.PHONY: build deb test demo bench fuzz lint clean

build: ## the program, as build/gatemilter
	$(GO) build -trimpath -o build/gatemilter ./cmd/gatemilter

deb: ## the Debian package, as build/gatemilter_VERSION_ARCH.deb; needs debhelper and build-essential
	@GO=$(GO) packaging/debian/build $(DEB_VERSION) $(DEB_OUTPUT)

test: ## all tests, the real Postfix and Sendmail included
	$(GO) vet ./...
	$(GO) test -race -timeout 18m ./...

demo: build ## what gatemilter does, shown with a throw-away Postfix
	@$(GO) run ./cmd/internal/demo -gatemilter build/gatemilter

bench: ## speed, each beside something else in the same run
	$(GO) test -run '^$$' -bench . -benchmem ./policy/received ./policy
	$(GO) test -run '^$$' -bench . -benchmem ./policy/auth/...
	$(GO) test -run '^$$' -bench . -benchmem ./policy/identity
	$(GO) test -run '^$$' -bench . ./milter ./milter/lookup
	$(GO) test -run '^$$' -bench . ./cmd/internal/daemon
	$(GO) test -run '^$$' -bench . ./cmd/gatemilter

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted: $$files (run gofmt -w)" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

clean: ## remove what was built
	rm -rf build
