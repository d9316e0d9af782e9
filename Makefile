# Each command sets up what it needs on a fresh machine with Python 3.11-3.14 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: picture up tour test test-long check setup setup-dev lock clean bench-start bench-webhooks bench-realtime bench-events autobahn bench-internal bench-edge bench-orders bench-peers

up: setup ## start the shop on the embedded default
	@exec $(BIN)/shop up

tour: setup ## place one real order and print its journey
	@exec $(BIN)/shop tour

test: setup-dev ## the shop's promises, as far as they can be tried here; REQUIRE=rabbitmq,postgres,redis makes a missing server a failure
	@$(BIN)/pytest -n auto -m "not long" $(ARGS)

test-long: setup-dev ## the other tests: what documents, recipes, lessons and experiments show is run, memory is filled to its bounds
	@$(BIN)/pytest -n auto -m long $(ARGS)

check: setup-dev ## style, types, import contracts, layout, protos, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n0 tests/internal/test_layout.py
	$(BIN)/python -m protos check
	$(BIN)/python -m tools.openapi_check
	$(BIN)/python -m tools.asyncapi_check
	$(BIN)/python -m tools.security_check

.PHONY: lessons-check
lessons-check: setup-dev ## each lesson's check against the broken code, the solution and the wrong fixes; ARGS="1 5": only these
	@$(BIN)/python -m tools.lessons_check $(ARGS)

.PHONY: offline-kit
offline-kit: setup ## packages for four systems and Pythons 3.11 to 3.14, and the repository, in build/offline-kit
	@$(BIN)/python -m tools.offline_kit $(ARGS)

picture: setup-dev ## the README's picture: one order's X-ray, from a shop that is started for it
	@$(BIN)/python -m tools.picture

.PHONY: faults
faults: setup-dev ## break the shop on purpose, scenario by scenario, with a verdict for each; ARGS=quick, or names, or lanes=2
	@$(BIN)/python -m tests.faults.suite $(ARGS)

.PHONY: mutation
mutation: setup-dev ## small changes in modules that decide: their unit tests have to notice; ARGS="orders saga" for these
	@$(BIN)/python -m tests.mutation $(ARGS)

.PHONY: soak
soak: setup-dev ## six protocols at once under kills, then the audit; ARGS="--minutes 120" for longer than 5 minutes
	@$(BIN)/python -m bench.soak $(ARGS)

.PHONY: alerts
alerts: setup-dev ## each deployed alert, fired by its fault in a real Prometheus (some minutes)
	@TEST_NIGHTLY=1 REQUIRE=prometheus $(BIN)/pytest -n $${TEST_WORKERS:-2} tests/metrics $(ARGS)

bench-start: setup-dev ## time to ready, memory, latency of an order
	@$(BIN)/python -m bench.start

bench-webhooks: setup-dev ## what keeping a webhook durably costs
	@$(BIN)/python -m bench.webhooks

bench-events: setup-dev ## the event log's adapters beside their bare libraries; ARGS="--events 10000 --only kafka" for less
	@$(BIN)/python -m bench.events $(ARGS)

bench-realtime: setup-dev ## deliveries a second and latency to 1,000 connections, memory of 5,000
	@$(BIN)/python -m bench.realtime

autobahn: setup-dev build/autobahn ## the Autobahn testsuite against our WebSocket server; it runs on Python 2.7
	@$(BIN)/pytest -n0 tests/notifier/test_autobahn.py

PYTHON2 ?= python2.7
build/autobahn:
	@command -v $(PYTHON2) >/dev/null || { echo "The Autobahn testsuite runs on Python 2.7. Say which one: make autobahn PYTHON2=..."; exit 2; }
	@echo "installing the Autobahn testsuite into $@ (once)"
	@PYTHONUSERBASE=$(CURDIR)/$@.new $(PYTHON2) -m pip install --quiet --user --no-warn-script-location autobahntestsuite==25.10.1
	@mv $@.new $@

bench-edge: setup-dev ## what the gateway's and GraphQL's policies cost, each beside a floor without any
	@$(BIN)/python -m bench.edge; edge=$$?; $(BIN)/python -m bench.edge.recording || edge=$$?; \
	$(BIN)/python -m bench.graphql && exit $$edge

bench-peers: setup-dev ## GraphQL, the edge and the fan-out beside Node's best (Apollo, Mercurius, Fastify, ws); needs Node 22
	@$(BIN)/python -m bench.peers $(ARGS)

bench-internal: setup-dev ## interceptors, streams, the ERP's adapter and reservations, each beside its floor
	@$(BIN)/python -m bench.internal

bench-orders: setup-dev ## orders a second from accepted to shipped, and what one costs by process and kind of work
	@$(BIN)/python -m bench.orders $(ARGS)

setup: $(VENV)/.runtime
	@$(BIN)/python -m protos

setup-dev: $(VENV)/.dev
	@$(BIN)/python -m protos

$(VENV)/.runtime: requirements.txt pyproject.toml
	@$(MAKE) --no-print-directory environment REQUIREMENTS=requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml
	@$(MAKE) --no-print-directory environment REQUIREMENTS=requirements-dev.txt
	@touch $@ $(VENV)/.runtime

.PHONY: environment
environment:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 14) or sys.exit("Python 3.11 to 3.14 is needed; this is " + sys.version.split()[0] + ". Install one of these and name it: make up PYTHON=python3.13")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(REQUIREMENTS) into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(REQUIREMENTS)
	@# "compat" is a path in a file, the quickest to start from; that setuptools means to give it up is no news for a reader.
	@PYTHONWARNINGS=ignore::UserWarning $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --config-settings editable_mode=compat
	@$(BIN)/python -m compileall -q chassis console gateway graphql_server legacy_soap mcp_server partners services shop webhooks

lock: ## bring the lock files up to date (needs uv)
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --upgrade pyproject.toml -o requirements.txt
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 -c requirements.txt --extra dev pyproject.toml -o requirements-dev.txt

clean: ## forget the environment, the state and everything generated
	rm -rf $(VENV) .shop build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find protos -name '*_pb2*.py*' -delete

.PHONY: down
down: ## stop the composed shop, whichever profiles run; ARGS=-v removes its data, too
	@docker compose --profile scale --profile kafka --profile observability --profile tools down --remove-orphans $(ARGS)

.PHONY: compose-test bench-scale
compose-test: setup-dev ## build the images, and try the composed shop: journey, faults, copies (needs a container engine)
	@docker compose --profile scale build --quiet
	@TEST_COMPOSE=1 $(BIN)/pytest -n0 tests/compose $(ARGS)

bench-scale: setup-dev ## what one, two and three copies do under the profile `scale` (needs a container engine)
	@docker compose --profile scale build --quiet
	@$(BIN)/python -m bench.scale
