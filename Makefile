# Every target is a line or two; the work is in hack/. `make` alone lists them.

# Where to run: `local` (a real Kubernetes started by hack/localcluster), `kind`, or `existing` (the current kubeconfig).
CLUSTER ?= local
# The cluster's name, so that several can stand side by side. Unset, the demonstration uses kapok, the tests kapok-test and
# the benchmark kapok-bench, so that none of them disturbs another.
export CLUSTER NAME

SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets and what they do.
	@echo 'Kapok: Kubernetes operators. Two commands to begin with: make demo, make test.'
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z][a-z0-9-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables: CLUSTER=local|kind|existing (now %s), NAME=<cluster>%s.\n' '$(CLUSTER)' '$(if $(NAME), (now $(NAME)))'

##@ Show it

.PHONY: demo demo-down
demo: ## Set up a cluster, lose its MySQL primary three ways, count the rows. Writes .out/demo.json.
	@hack/demo.sh

demo-down: cluster-down ## Take down what the demo set up.

##@ Prove it

.PHONY: test test-unit test-simulation test-envtest test-component test-e2e bench bench-platform bench-backup chaos chaos-network chaos-backup mutate verify
test: ## Run every test below in order; ends with "N passed, N failed".
	@hack/test.sh all

test-unit: ## Unit tests of every module; nothing but Go needed.
	@hack/test.sh unit

test-simulation: ## Seeded simulation of the topology with random faults, at its full length.
	@hack/test.sh simulation

test-envtest: ## API and reconcile tests on a real kube-apiserver and etcd.
	@hack/test.sh envtest

test-component: ## The MySQL agent against a real mysqld, object stores against a real S3 server.
	@hack/test.sh component

test-e2e: ## Scenarios on a real cluster with the real operator and MySQL.
	@hack/test.sh e2e

bench: ## Many kills and switchovers under load: the distribution of write gaps. Writes .out/bench/mysql.json.
	@hack/bench.sh

bench-platform: ## An operator on the shared manager with 10,000 objects. Writes .out/bench/platform.json.
	@hack/bench-platform.sh

bench-backup: ## Backups and restores of a gibibyte against cp, and how exposed writes are (MIB, ROUNDS). Writes .out/bench/backup.txt.
	@hack/bench-backup.sh

chaos: ## Faults under load, judged by history (SEED, FROM, FAULTS, MINUTES, ONLY). Writes .out/chaos.json.
	@hack/chaos.sh

chaos-backup: ## Faults at every step of backups and restores, what is restored judged by history (SEED, FROM, FAULTS, MINUTES). Writes .out/chaos-backup.json.
	@hack/chaos.sh backup

chaos-network: ## An hour (MINUTES) of 200 ms delay and 5 % loss: no failover may happen. Writes .out/chaos-network.json.
	@hack/chaos.sh network

mutate: ## Generated changes of the spec under load (SEED, CHANGES, MINUTES, ONLY). Writes .out/mutate.json.
	@hack/mutate.sh

verify: ## Generated files current, linted, modules tidy and buildable alone, nothing of one machine in the sources.
	@hack/verify.sh

##@ Build it

.PHONY: build images install-yaml preflight
preflight: ## Check that this machine can do the rest, and say what is missing.
	@hack/preflight.sh

build: ## Build the static binaries into bin/.
	@hack/build.sh

images: ## Assemble the container images into .out/images/, without Docker or a registry.
	@hack/images.sh

install-yaml: ## Render the operator's installation (MODE=own|one|several|all) into .out/install/mysql-operator.yaml.
	@hack/install-yaml.sh

##@ Run it

.PHONY: cluster-up cluster-down cluster-status
cluster-up: ## Start the cluster and wait until its nodes are ready.
	@hack/cluster.sh up

cluster-down: ## Stop the cluster and remove everything it put on this machine.
	@hack/cluster.sh down

cluster-status: ## Say what of the cluster runs.
	@hack/cluster.sh status

##@ Work on it

.PHONY: generate lint fmt tidy clean clean-all
generate: ## Bring generated files up to date: deep copies, apply configurations, CRDs, roles, reference.
	@hack/generate.sh

lint: ## Run golangci-lint in every module.
	@hack/lint.sh

fmt: ## Format the Go code.
	@hack/lint.sh fmt

tidy: ## Tidy every module against the checkout itself.
	@hack/tidy.sh write

clean: ## Remove bin/ and .out/.
	@hack/clean.sh

clean-all: ## Also take down every cluster and remove the cache.
	@hack/clean.sh all
