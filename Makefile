# Every goal works on a fresh checkout: it makes the environments that it needs under .venv, once.
# PYTHON=... names another Python than the first one that suits, and makes anew what another one has made; JOBS=... sets
# how many tests run side by side.

SHELL := /bin/bash
VENV := .venv
MAIN := $(VENV)/salt3008
LINT := $(VENV)/lint
JOBS ?= $(shell nproc)
LIBRARY := PYTHONPATH=_utils
PYTEST := bin/python -m pytest --quiet
# Emulated machines at a time; each wants a processor and 4 GiB.
XEN_JOBS ?= $(shell awk -v jobs=$$(nproc) '/^MemAvailable/ { fit = int($$2 / 4194304) } \
    END { if (jobs > 2) jobs = 2; if (jobs > fit) jobs = fit; print (jobs > 1) ? jobs : 1 }' /proc/meminfo)
XEN_PACKAGES = $(shell sed 's/\#.*//' tools/system-packages-xen)
# What goes through Salt; the lab itself needs none, and its demo is run on the newest.
SALT_SYSTEM := $(filter-out tests/system/test_lab%, $(wildcard tests/system/test_*.py))

.PHONY: say-missing demo demo-xen install test test-xen test-main test-salt3007 test-salt3006 lint format bench clean

# Before anything else is made; what cannot be shown without these is left out.
say-missing:
	@tools/check-programs || true

demo: say-missing $(MAIN)/.stamp
	@$(LIBRARY) $(MAIN)/bin/python -m lab demo

# The same on a real Xen host in an emulated machine. Both take minutes, and are no part of `make test`; CI runs both too.
demo-xen: $(MAIN)/.stamp
	@tools/install-packages $(XEN_PACKAGES)
	@$(LIBRARY) $(MAIN)/bin/python -m lab.xen demo

test-xen: $(MAIN)/.stamp
	@tools/install-packages $(XEN_PACKAGES)
	@XEN_TESTS=1 $(MAIN)/$(PYTEST) tests/xen --numprocesses $(XEN_JOBS) --dist loadfile --durations 12 --verbose

# In dom0: the modules, the formula, and a pillar without VMs where there is none. Needs neither pip nor a network.
install:
	@tools/install "$(DESTDIR)"

# Each Salt gets its turn even where an earlier one failed.
test:
	@tools/install-packages
	@tools/check-programs
	@$(MAKE) --no-print-directory --keep-going test-main test-salt3007 test-salt3006

# What brings up a whole dom0 wants the machine for itself.
test-main: $(MAIN)/.stamp
	@echo "== all tests, Salt $$($(MAIN)/bin/python -c 'import salt.version; print(salt.version.__version__)')"
	@status=0; \
	$(MAIN)/$(PYTEST) -m "not system" --numprocesses $(JOBS) --dist loadfile || status=1; \
	if [ -d tests/system ]; then $(MAIN)/$(PYTEST) tests/system || status=1; fi; \
	exit $$status

test-salt3007 test-salt3006: test-%: $(VENV)/%/.stamp
	@echo "== the Salt-facing tests, $*"
	@status=0; \
	$(VENV)/$*/$(PYTEST) tests/functional/salt --numprocesses $(JOBS) --dist loadfile || status=1; \
	$(VENV)/$*/$(PYTEST) $(SALT_SYSTEM) || status=1; \
	exit $$status

lint: $(LINT)/.stamp
	$(LINT)/bin/ruff check .
	$(LINT)/bin/ruff format --check .
	$(LINT)/bin/mypy

format: $(LINT)/.stamp
	$(LINT)/bin/ruff check --fix .
	$(LINT)/bin/ruff format .

bench: $(MAIN)/.stamp
	@for file in $$(grep -l '^def main' benchmarks/*.py); do \
	    echo "== $$file"; $(LIBRARY):. $(MAIN)/bin/python "$$file" || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Where PYTHON is given, tools/make-venv looks each time whether it has made the environment.
.PHONY: python-named
NAMED := $(if $(PYTHON),python-named)
python-named:

$(LINT)/.stamp: requirements/lint.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $<

$(VENV)/salt%/.stamp: requirements/salt%.txt requirements/test.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $< requirements/test.txt
