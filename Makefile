# Two targets matter to a newcomer: `make demo` and `make test`.  Each sets up what it needs, once.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUDO := $(shell test $$(id -u) = 0 || echo sudo)
SOURCES := rataccess drivers hil transports tests

.PHONY: demo test coverage check format bench servers clean

demo: $(READY)
	$(BIN)/rataccess demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

# The same, measured: tracing costs as much again, so it is a target of its own.  Fails below the share in pyproject.toml.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n auto --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy rataccess drivers/rataccess_drivers transports/rataccess_transports hil/rataccess_hil tests
	$(BIN)/python -m pytest -q tests/house

format: $(READY)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

$(READY): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	touch $@

# The real PostgreSQL and mosquitto that some tests start by themselves, and lora-packet, an independent reader of LoRaWAN
# frames; without them those tests skip and say so.
servers:
	$(SUDO) apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql mosquitto
	command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends npm
	npm install --silent --no-audit --no-fund --prefix build/npm lora-packet@0.9

# Ours and its peers side by side, into docs/bench/; the peers get a virtual environment of their own.
bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,bench]'
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov rataccess.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
