# make demo · make demo-reset · make check · make test · make bench · make torture: the README names no others.
PYTHON ?= python3
MUNICIPALITY ?= heusden
VENV := .venv
BIN := $(VENV)/bin
DEMO :=

.PHONY: demo demo-reset check test bench torture pictures lock clean

demo: $(VENV)/.ready
	@exec $(BIN)/vierogen demo --municipality $(MUNICIPALITY) $(DEMO)

demo-reset: $(VENV)/.ready
	@$(BIN)/vierogen demo-reset --municipality $(MUNICIPALITY)

check: $(VENV)/.ready-to-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow" tests/rules

test: $(VENV)/.ready-to-test debian check
	$(BIN)/pytest -n 3 --dist loadscope

# The Debian packages that some tests want; where they may not be installed, the tests that need them say so and are skipped.
.PHONY: debian
debian:
	@deploy/debian-packages mosquitto mosquitto-clients chromium strace xfsprogs

bench: $(VENV)/.ready-to-test
	@$(BIN)/python -m tests.benchmarks

torture: $(VENV)/.ready-to-test
	@$(BIN)/python -m tests.adapters.crash.torture

pictures: $(VENV)/.ready-to-test
	VIEROGEN_PICTURES=docs/pictures $(BIN)/pytest -m browser

$(VENV)/.ready: requirements.lock pyproject.toml
	@deploy/set-up $(PYTHON) $(VENV) requirements.lock
	@touch $@

$(VENV)/.ready-to-test: requirements-test.lock pyproject.toml
	@deploy/set-up $(PYTHON) $(VENV) requirements-test.lock
	@touch $(VENV)/.ready $@

lock: $(VENV)/.ready-to-test
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --extra build --extra test --extra postgresql -o requirements-test.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --extra build -c requirements-test.lock -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
