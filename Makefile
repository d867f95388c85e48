# `make demo` and `make test` need nothing beforehand but Python 3.11 with venv (and apt, when root).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PAGE := hub/dashboard/static/index.html
PAGE_SOURCES := lock/page.txt $(shell find hub/dashboard/web hub/dashboard/design -type f -not -path '*/node_modules/*' 2>/dev/null)
ARGS ?=

.PHONY: demo test check bench chaos fuzz lock screenshots clean

demo: $(VENV)/.demo $(PAGE)
	@exec $(BIN)/machikoba demo $(ARGS)

# Three runs: what measures time with whole sites must not share the box with the rest, and the
# browser's driver keeps an event loop running that other tests could not start beside.
test: $(VENV)/.dev $(PAGE) build/.debian check
	$(BIN)/python -m pytest -n 2 -m "not browser" --ignore=tests/system $(ARGS)
	$(BIN)/python -m pytest tests/system $(ARGS)
	$(BIN)/python -m pytest -m browser $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev $(PAGE) build/.debian
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.dev $(PAGE) build/.debian
	$(BIN)/python -m tests.system.chaos $(ARGS)

fuzz: $(VENV)/.dev
	MACHIKOBA_FUZZ=1 $(BIN)/python -m pytest -m fuzz -n 2 $(ARGS)

lock:
	sh lock/compile.sh

clean:
	rm -rf $(VENV) build hub/dashboard/static hub/dashboard/web/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh deploy/debian-packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml lock/demo.txt lock/build.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r lock/build.txt -r lock/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml lock/dev.txt lock/build.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r lock/build.txt -r lock/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.demo

# Browser, brokers, databases and foreign Modbus programs come from Debian; without root the script says what to install.
build/.debian: deploy/debian-packages.sh
	@mkdir -p build
	sh deploy/debian-packages.sh mosquitto chromium fonts-noto-cjk wrk curl postgresql gcc libc6-dev libmodbus-dev mbpoll faketime systemd
	@touch $@

$(PAGE): $(PAGE_SOURCES) hatch_build.py | $(VENV)/bin/python
	$(BIN)/python hatch_build.py
