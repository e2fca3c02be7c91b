# The one door. `make help` lists what is behind it.

PYTHON := .venv/bin/python
BOOTSTRAP := python3 -m deploy.local.bootstrap
export STATE_DIRECTORY
# STACK=name chooses where both `demo` and `up` run.
LOCAL := $(PYTHON) -m deploy.local $(if $(STACK),--stack $(STACK))
# Two at a time: each keeps one processor busy.
TOGETHER := $(MAKE) --no-print-directory --jobs 2 --output-sync=line
# The folder of whichever Node the web build uses comes first.
NPM := PATH="$$(python3 -m deploy.local.bootstrap node):$$PATH" npm --prefix services/gateway/web
PYTEST := $(PYTHON) -m pytest -p tests.support.no_skips
# Workers of the whole run: most of its time is waiting for real parts. PYTEST_WORKERS=0 runs it in one process.
PYTEST_WORKERS ?= 3
# PYTEST_ARGS="-k call -x" goes to pytest.
PYTEST_ARGS ?=

TO ?= 4000
SECONDS ?= 20

.DEFAULT_GOAL := help
.PHONY: help install demo up down status logs call sms-inbox create-tenant modem-check web proto lint fmt clean backup restore check sbom \
        lint-python lint-web test-web test test-unit test-integration test-e2e test-asterisk-16 fuzz chaos chaos-telephony \
        image-check bench-pop bench-telephony bench-scale bench-capacity bench-pool bench-records bench-convert bench-dedupe bench-dedupe-quality bench-sms

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install and build what `up` needs, and start nothing
	@$(BOOTSTRAP) up

demo: ## everything on loopback with sample data, a PBX and a modem to play with (PORT=8080 PROMETHEUS=yes); Ctrl-C stops it
	@$(BOOTSTRAP) demo
	@$(LOCAL) demo

up: ## the same without samples and simulators, for real work; data stays in var/up (PORT=8080 BIND_ADDRESS=0.0.0.0)
	@$(BOOTSTRAP) up
	@$(LOCAL) up

# The doors to a running stack need no more than Python.
down status logs call sms-inbox create-tenant clean backup restore check: $(PYTHON)
$(PYTHON):
	@$(BOOTSTRAP) venv

down: ## stop what runs; the data stays
	@$(LOCAL) down

status: ## each process with its port and health
	@$(LOCAL) status

logs: ## follow the logs
	@$(LOCAL) logs

call: ## a call from outside: FROM=13800138000 [TO=4000] [SECONDS=20]
	@test -n "$(FROM)" || { echo "make call FROM=13800138000 [TO=4000] [SECONDS=20]"; exit 2; }
	@$(LOCAL) call "$(FROM)" --to "$(TO)" --seconds "$(SECONDS)"

sms-inbox: ## what went out through the modem emulator
	@$(LOCAL) sms-inbox

create-tenant: ## the first tenant and administrator: SLUG=acme NAME=某某公司 ADMIN=admin ADMIN_NAME=管理员
	@test -n "$(SLUG)" -a -n "$(NAME)" -a -n "$(ADMIN)" -a -n "$(ADMIN_NAME)" || \
	    { echo "make create-tenant SLUG=acme NAME=某某公司 ADMIN=admin ADMIN_NAME=管理员"; exit 2; }
	@$(LOCAL) run services.identity create-tenant --slug "$(SLUG)" --name "$(NAME)" \
	    --admin "$(ADMIN)" --admin-name "$(ADMIN_NAME)"

modem-check: $(PYTHON) ## say in words what a modem can do: PORT=/dev/serial/by-id/...
	@test -n "$(PORT)" || { echo "make modem-check PORT=/dev/serial/by-id/..."; exit 2; }
	@$(PYTHON) -m services.telephony.modem.check "$(PORT)"

bench-pop: ## calls at 20 a second through the real PBX: how long until the pop is there
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.pop

bench-telephony: ## 50 calls a second, 500 agents, INVITE to painted card, events a second: [CUSTOMERS=1000000]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.telephony --customers $(or $(CUSTOMERS),1000000)

chaos-telephony: ## calls while AMI is cut and the edge, the broker and the database are killed: [CALLS=2000 RATE=10]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.chaos.telephony --calls $(or $(CALLS),2000) --rate $(or $(RATE),10)

chaos: ## replicas killed, frozen, cut off, vanished and rolled under load: nothing is lost, nothing twice [FOR=600 REPLICAS=2 MOVE=yes BEFORE=checkout]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.chaos.everything --seconds $(or $(FOR),600) --replicas $(or $(REPLICAS),2) \
	    $(if $(MOVE),--move) $(if $(BEFORE),--before $(BEFORE))

image-check: ## build the image and run the product out of it, as root, some minutes: [REGISTRY=mirror.example/library/]
	@$(BOOTSTRAP) image
	@# What is mounted goes with it, whatever becomes of it.
	@unshare --mount --propagation private $(PYTHON) -m tests.image.check $(if $(REGISTRY),--registry $(REGISTRY))

bench-scale: ## the same load on one, two and four replicas of everything, and what a request costs
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.scale

bench-capacity: ## what an agent, a call and a customer cost: processors' time, disk and memory, for docs/capacity.md
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.capacity

bench-pool: ## claims, pool pages and sweeps beside the bare statement and the naive way: [CUSTOMERS=1000000]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.pool --customers $(or $(CUSTOMERS),20000)

bench-records: ## a customer's page, the quick search and a filtered list over a large base: [CUSTOMERS=1000000]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.records --customers $(or $(CUSTOMERS),20000)

bench-convert: ## conversions beside workflows with as many empty activities, and approvals: [CONVERSIONS=150]
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.convert --conversions $(or $(CONVERSIONS),150)

bench-dedupe: ## matching and reservations beside pg_trgm, tantivy and look-then-insert (NAMES=1000000)
	@$(BOOTSTRAP) test
	@.venv/bin/uv pip install --quiet --python $(PYTHON) --requirement requirements-bench.lock
	@$(PYTHON) -m tests.bench.dedupe --names $(or $(NAMES),20000)

bench-dedupe-quality: ## precision, recall and F1 on labelled data, beside Splink: [NAMES=2000]
	@$(BOOTSTRAP) tools
	@.venv/bin/uv pip install --quiet --python $(PYTHON) --requirement requirements-bench.lock
	@$(PYTHON) -m tests.bench.dedupe_quality --names $(or $(NAMES),2000)

bench-sms: ## SMS a second beside gammu-smsd, smstools and Kannel, restarts, eight modems, reminders behind bulk
	@$(BOOTSTRAP) test
	@$(PYTHON) -m tests.bench.sms

test: ## lint and every test: of the web, unit, integration, end to end (PYTEST_ARGS=...)
	@$(BOOTSTRAP) test
	@$(TOGETHER) lint-python lint-web test-web
	@$(PYTEST) -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder tests $(PYTEST_ARGS)

test-unit: ## the tests that need nothing but Python
	@$(BOOTSTRAP) tools
	@$(PYTEST) tests/unit $(PYTEST_ARGS)

test-integration: ## the tests against real stores, PBX and modem emulator
	@$(BOOTSTRAP) test
	@$(PYTEST) tests/integration $(PYTEST_ARGS)

test-asterisk-16: ## what is tried on a real PBX, on the oldest Asterisk that is supported
	@$(BOOTSTRAP) test
	@ASTERISK_SUITE=bullseye $(PYTEST) tests/integration/telephony/test_back_fill.py \
	    tests/integration/telephony/test_real_calls.py \
	    tests/integration/telephony/test_old_asterisk.py $(PYTEST_ARGS)

fuzz: ## the property tests with examples that nobody tried before (PYTEST_ARGS="-k call")
	@$(BOOTSTRAP) test
	@HYPOTHESIS_PROFILE=fuzz $(PYTEST) -m hypothesis tests/unit tests/integration $(PYTEST_ARGS)

test-e2e: ## the stories against everything, in a browser too
	@$(BOOTSTRAP) test
	@$(PYTEST) tests/e2e $(PYTEST_ARGS)

lint: ## ruff, mypy, import-linter, buf, generated code, the web's own linters
	@$(BOOTSTRAP) web
	@$(TOGETHER) lint-python lint-web

lint-python:
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/buf lint proto
	@.venv/bin/buf breaking proto --against proto/baseline.binpb
	@$(PYTHON) proto/generate.py --check
	@$(PYTHON) -m deploy.grafana --check
	@PYTHONPATH=.:proto/gen $(PYTHON) -m services.gateway.openapi --check

lint-web:
	@$(NPM) run lint
	@$(NPM) run api:check

test-web:
	@$(NPM) test

fmt: ## format Python and the web
	@$(BOOTSTRAP) web
	@.venv/bin/ruff check --fix --exit-zero --quiet .
	@.venv/bin/ruff format .
	@$(NPM) run format

proto: ## generate code and the API's document from the contracts
	@$(BOOTSTRAP) tools
	@$(PYTHON) proto/generate.py
	@PYTHONPATH=.:proto/gen $(PYTHON) -m services.gateway.openapi

web: ## build the agent desktop
	@$(BOOTSTRAP) web

backup: ## put a stack into one file, running or not: TO=/backups/gonghai.tar.gz [STACK=up]
	@test -n "$(TO)" -a "$(TO)" != 4000 || { echo "make backup TO=/backups/gonghai.tar.gz [STACK=up]"; exit 2; }
	@$(LOCAL) backup "$(TO)"

restore: ## make a stack from such a file: FROM=/backups/gonghai.tar.gz [STACK=up]
	@test -n "$(FROM)" || { echo "make restore FROM=/backups/gonghai.tar.gz [STACK=up]"; exit 2; }
	@$(LOCAL) restore "$(FROM)"

check: ## whether the services agree, after a restore: [REPAIR=yes STACK=up]
	@$(LOCAL) run services check $(if $(REPAIR),--repair)

sbom: ## what is shipped, as CycloneDX: build/sbom/python.json and build/sbom/web.json
	@$(BOOTSTRAP) tools
	@$(PYTHON) -m deploy.sbom build/sbom

clean: ## remove the data of stacks that do not run
	@$(LOCAL) clean
