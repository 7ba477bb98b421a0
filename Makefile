# The developer's commands; CI calls the same ones. `make help` lists them.
CARGO ?= cargo
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
ORLOP := $(CARGO_TARGET_DIR)/release/orlop
IMAGES := $(CARGO_TARGET_DIR)/images
CLUSTER_IMAGES := $(CARGO_TARGET_DIR)/cluster-images
# Files of the cluster's machines.
LAB ?= /var/lib/orlop-lab
# Prefix of every path of the node; empty means the machine's own node.
ROOT ?=
ROOT_FLAG := $(if $(ROOT),--root $(ROOT))

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the Debian packages that are missing
	@scripts/install-deps.sh

.PHONY: build
build: deps ## Build the release binaries
	$(CARGO) build --release --locked --bin orlop --bin containerd-shim-orlop-v2

.PHONY: images
images: deps ## Build the example's images from Debian packages
	$(CARGO) run --quiet --locked --package xtask -- example-images --out $(IMAGES)

.PHONY: up
up: build images ## Start a node, play the example, print its listings
	@mkdir -p $(ROOT)/var/lib/orlop/images
	@cp $(IMAGES)/*.tar $(ROOT)/var/lib/orlop/images/
	$(ORLOP) up --detach $(ROOT_FLAG)
	@scripts/play-example.sh $(ORLOP) $(ROOT)

.PHONY: down
down: ## Stop the node and its pods
	@if [ -x $(ORLOP) ]; then $(ORLOP) down $(ROOT_FLAG); else echo "$(ORLOP) is not built: nothing to stop"; fi

.PHONY: up-cluster
up-cluster: build cluster-images ## Three masters and three workers, each with its own network; left running
	$(CARGO) build --release --locked --bin orlop-lab
	$(CARGO_TARGET_DIR)/release/orlop-lab up --orlop $(ORLOP) --images $(CLUSTER_IMAGES) --directory $(LAB)
	@KUBECONFIG=$(LAB)/admin.conf kubectl get nodes
	@KUBECONFIG=$(LAB)/admin.conf kubectl get pods -n kube-system

.PHONY: cluster-images
cluster-images: build images ## Build the images of a control plane
	$(CARGO) run --quiet --locked --package xtask -- cluster-images --orlop $(ORLOP) --out $(CLUSTER_IMAGES)
	@cp $(IMAGES)/busybox.tar $(CLUSTER_IMAGES)/

.PHONY: down-cluster
down-cluster: ## Stop the cluster's machines and remove their files
	$(CARGO_TARGET_DIR)/release/orlop-lab down --directory $(LAB) --remove

.PHONY: clean-node
clean-node: down ## Remove the node's state
	rm -rf $(ROOT)/var/lib/orlop $(ROOT)/run/orlop $(ROOT)/var/lib/kubelet $(ROOT)/var/log/pods \
	  $(ROOT)/var/log/containers $(ROOT)/etc/kubernetes $(ROOT)/var/lib/etcd

.PHONY: test
test: deps ## Run all tests, end-to-end ones included
	$(CARGO) build --locked --bin orlop --bin containerd-shim-orlop-v2 --bin orlop-lab --bin xtask
	$(CARGO) test --locked --workspace
	ORLOP_TEST_STORE=etcd $(CARGO) test --locked --workspace --test api
	ORLOP_TEST_KUBECTL=newest $(CARGO) test --locked --workspace --test kubectl --test streams

.PHONY: bench
bench: build images cluster-images ## Print each figure beside its reference
	$(CARGO) build --release --locked --bin orlop-lab
	$(CARGO) run --release --locked --package orlop-bench -- --orlop $(ORLOP) --images $(IMAGES) --cluster-images $(CLUSTER_IMAGES)

.PHONY: bench-agent
bench-agent: build images ## Print the node agent's figures beside direct CRI calls
	$(CARGO) run --release --locked --package orlop-bench -- --part agent --orlop $(ORLOP) --images $(IMAGES)

.PHONY: bench-api
bench-api: build images ## Print the API server's figures beside upstream's
	$(CARGO) run --release --locked --package orlop-bench -- --part api --orlop $(ORLOP) --images $(IMAGES)

.PHONY: bench-store
bench-store: build images ## Print the store's figures beside etcd's
	$(CARGO) run --release --locked --package orlop-bench -- --part store --orlop $(ORLOP) --images $(IMAGES)

.PHONY: bench-fleet
bench-fleet: build ## Print the figures of DaemonSets on up to 15,000 hollow nodes
	$(CARGO) run --release --locked --package orlop-bench -- --part fleet --orlop $(ORLOP)

.PHONY: bench-cluster
bench-cluster: build cluster-images ## Print what three masters need and do, beside etcd alone
	$(CARGO) build --release --locked --bin orlop-lab
	$(CARGO) run --release --locked --package orlop-bench -- --part cluster --orlop $(ORLOP) --cluster-images $(CLUSTER_IMAGES)

.PHONY: torture
torture: deps ## Power cuts, 10,000 seeds, 400 rounds of kill -9, a minute of garbage (some minutes)
	ORLOP_TORTURE=1 $(CARGO) test --release --locked --package orlop-store --test embedded -- torture simulation --nocapture
	ORLOP_TORTURE=1 $(CARGO) test --release --locked --package orlop-etcd --test kill -- --nocapture
	ORLOP_TORTURE=1 $(CARGO) test --release --locked --package orlop-apiserver --test process kill -- --nocapture
	$(CARGO) build --locked --bin orlop --bin containerd-shim-orlop-v2 --bin orlop-lab --bin xtask
	ORLOP_TORTURE=1 $(CARGO) test --locked --package orlop-e2e --test agent --test cluster -- --nocapture

.PHONY: simulate
simulate: deps ## 10,000 seeds of controllers and scheduler against a misbehaving API server (some minutes)
	ORLOP_SIM_SEEDS=$${ORLOP_SIM_SEEDS:-10000} $(CARGO) test --release --locked --package orlop-controllers --test simulation -- --nocapture

.PHONY: lint
lint: deps ## Formatting, clippy, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check bans licenses sources; \
	 else echo "cargo-deny is not installed: licences not checked"; fi
