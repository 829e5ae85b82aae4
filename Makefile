# Every goal works on a fresh checkout: it makes the environments that it needs under .venv, once.
# PYTHON=... names another Python than the first one that suits, and makes anew what another one has made; JOBS=... sets
# how many tests run side by side.

SHELL := /bin/bash
VENV := .venv
MAIN := $(VENV)/salt3008
LINT := $(VENV)/lint
PACKAGING := $(VENV)/packages
FUZZ := $(VENV)/fuzz
DOCS := $(VENV)/docs
FUZZER := $(FUZZ)/bin/python -B -m tests.fuzz
FUZZ_JOBS := 2
# Two on each processor, as many a test waits.
JOBS ?= $(shell nproc | awk '{ print 2 * $$1 }')
ON_PATH := PYTHONPATH=_utils
PYTEST := bin/python -m pytest --quiet
# Thousands of processes import the library, and several collect the tests: what is compiled once serves all of them.
unexport PYTHONDONTWRITEBYTECODE
# Each process takes whole files, in the order of tests/conftest.py: the longest first.
SIDE_BY_SIDE = --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
# Emulated machines at a time; each wants a processor and 4 GiB.
XEN_JOBS ?= $(shell awk -v jobs=$$(nproc) '/^MemAvailable/ { fit = int($$2 / 4194304) } \
    END { if (jobs > 2) jobs = 2; if (jobs > fit) jobs = fit; print (jobs > 1) ? jobs : 1 }' /proc/meminfo)
XEN_PACKAGES = $(shell sed 's/\#.*//' tools/system-packages-xen)
PACKAGES_PACKAGES = $(shell sed 's/\#.*//' tools/system-packages-packages)
# What goes through Salt and may depend on its release. The lab itself needs none; its demo, the pages for newcomers and
# the removal are tried on the newest.
SALT_SYSTEM := $(filter-out $(patsubst %,tests/system/test_%,lab% quickstart% absent%), $(wildcard tests/system/test_*.py))

# All that is random in the tests and the soak comes of one seed, another each day: SEED=20261129 does a day's again.

.PHONY: say-missing demo demo-xen install uninstall share packages test-packages review test check simulate test-xen test-main test-pieces test-system test-salt3007 test-salt3006 lint format bench clean
.PHONY: docs docs-site pages pictures coverage changelog release
.PHONY: soak mutate fuzz fuzz-check fuzz-coverage fuzz-keep

# Before anything else is made; what cannot be shown without these is left out.
say-missing:
	@tools/check-programs || true

demo: say-missing $(MAIN)/.stamp
	@$(ON_PATH) $(MAIN)/bin/python -m lab demo

# The same on a real Xen host in an emulated machine. Both take minutes, and are no part of `make test`; CI runs both too.
demo-xen: $(MAIN)/.stamp
	@tools/install-packages $(XEN_PACKAGES)
	@$(ON_PATH) $(MAIN)/bin/python -m lab.xen demo

test-xen: $(MAIN)/.stamp
	@tools/install-packages $(XEN_PACKAGES)
	@XEN_TESTS=1 $(MAIN)/$(PYTEST) tests/xen --numprocesses $(XEN_JOBS) --dist loadfile --durations 12 --verbose

# In dom0: the modules, the formula, and a pillar without VMs where there is none. Needs neither pip nor a network.
install:
	@tools/install "$(DESTDIR)"

# Its opposite; what the admin has edited stays. The state vminterface.absent goes before, where agent or watcher run.
uninstall:
	@tools/uninstall "$(DESTDIR)"

# RPMs, Debian packages, wheel and sdist of the last commit, in dist/.
packages: $(PACKAGING)/.stamp
	@tools/install-packages $(PACKAGES_PACKAGES)
	@rm -rf dist
	@PYTHON_BUILD=$(PACKAGING)/bin/python tools/build-packages dist

# What `make packages` has built: checked, built once more with the same bytes, installed, upgraded and removed.
test-packages: $(MAIN)/.stamp $(PACKAGING)/.stamp
	@tools/install-packages
	@tools/install-packages $(PACKAGES_PACKAGES)
	@[ -e dist ] || $(MAKE) --no-print-directory packages
	@PYTHON_BUILD=$(PACKAGING)/bin/python tools/check-packages dist
	@PACKAGES_TESTS=dist PYTHON_BUILD=$(CURDIR)/$(PACKAGING)/bin/python $(MAIN)/$(PYTEST) tests/packages --durations 8

# What somebody reads who reviews what the package for dom0 runs there, with its lines.
review:
	@tools/count-dom0

# What packages put below /usr/share: man pages, completion of shells, the pillar's schema.
share:
	@rm -rf share
	@$(or $(PYTHON),python3) tools/make-share share

# Guided fuzzing: see tests/fuzz/README.md. TIME is the seconds of each target, TARGET are names of targets.
fuzz: $(FUZZ)/.stamp
	@$(FUZZER) fuzz --seconds $(or $(TIME),60) --jobs $(FUZZ_JOBS) --seed $(or $(SEED),0) $(TARGET)

# What CI does, in a minute: the kept inputs, what they reach, and some fuzzing of every target that there is time for.
fuzz-check: $(FUZZ)/.stamp
	@$(FUZZER) check --seconds $(or $(TIME),60) --jobs $(FUZZ_JOBS) --seed $(or $(SEED),0) $(TARGET)

fuzz-coverage fuzz-keep: fuzz-%: $(FUZZ)/.stamp
	@$(FUZZER) $* $(TARGET)

# Each Salt gets its turn even where an earlier one failed.
test:
	@tools/install-packages
	@tools/check-programs
	@$(MAKE) --no-print-directory --keep-going test-main test-salt3007 test-salt3006

# Schedules of the whole system, in each of which all promises must hold; `make test` runs the first ten thousand.
SEEDS ?= 0:1000000
simulate: $(MAIN)/.stamp
	@$(ON_PATH) $(MAIN)/bin/python -m tests.simulation --seeds $(SEEDS) --jobs $(JOBS)

# What brings up a whole dom0 wants a processor for itself.
WHOLE_DOM0 := --numprocesses $(shell nproc) --dist loadfile --no-loadscope-reorder
test-main:
	@$(MAKE) --no-print-directory --keep-going test-pieces test-system

test-pieces: $(MAIN)/.stamp
	@echo "== all tests but of a whole dom0, Salt $$($(MAIN)/bin/python -c 'import salt.version; print(salt.version.__version__)')"
	@$(MAIN)/$(PYTEST) -m "not system" $(SIDE_BY_SIDE)

test-system: $(MAIN)/.stamp
	@echo "== tests of a whole dom0, Salt $$($(MAIN)/bin/python -c 'import salt.version; print(salt.version.__version__)')"
	@$(MAIN)/$(PYTEST) $(WHOLE_DOM0) tests/system

# A master of Salt 3007 loses requests on Python 3.13 (docs/platforms.md): only minions and salt-call are tried with it.
test-salt3007: private NO_MASTER := and not master
test-salt3007 test-salt3006: test-%: $(VENV)/%/.stamp
	@echo "== the Salt-facing tests, $*, $$($(VENV)/$*/bin/python --version)"
	@status=0; \
	$(VENV)/$*/$(PYTEST) -m "not any_salt $(NO_MASTER)" $(SIDE_BY_SIDE) tests/functional/salt || status=1; \
	$(VENV)/$*/$(PYTEST) -m "not any_salt $(NO_MASTER)" $(WHOLE_DOM0) $(SALT_SYSTEM) || status=1; \
	exit $$status

# What a change wants to know first: style, types, and the tests of each piece but those that go through Salt. A parser gets
# a tenth of the random inputs that it gets in `make test`, another tenth each day.
check: lint $(MAIN)/.stamp
	@QUICK=1 $(MAIN)/$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/functional --ignore tests/functional/salt

# Many VMs, two admins and the watcher at once, while VMs and daemons hang and are started again: at most an hour, in
# which nothing may grow, lie or stay behind. MINUTES=... is for both releases together.
MINUTES ?= 60
soak: $(MAIN)/.stamp
	@tools/install-packages
	@$(ON_PATH):. $(MAIN)/bin/python -m tests.soak --minutes $(MINUTES)

# The site, in build/docs/html, and every example of its pages. A warning is an error. CI runs the examples in `make test`, and
# builds the site by the second goal alone.
docs: docs-site $(MAIN)/.stamp
	@$(MAIN)/$(PYTEST) tests/functional/salt/test_docs.py

# The files of the tree that are made of its tables and sources; tests hold them against these.
pages: $(MAIN)/.stamp
	@tools/write-pages $(MAIN)/bin/python

docs-site: $(DOCS)/.stamp
	@$(ON_PATH) $(DOCS)/bin/python -B -m website build/docs

# What the demo has shown, as the pages show it.
pictures: demo
	cp demo-monitors.png docs/pictures/monitors.png
	cp demo-push.svg docs/pictures/push.svg
	gm convert demo-vms.png -trim +repage -bordercolor white -border 16 -colors 64 png8:docs/pictures/vms.png

# Which lines and branches of the library and Salt's modules all tests reach; takes an hour. TESTS="tests/unit" measures some.
coverage: $(VENV)/coverage/.stamp
	@JOBS=$(JOBS) tools/coverage $(VENV)/coverage/bin/python $(TESTS)

# Puts the fragments of changelog.d into CHANGELOG.md, below this version and today's date.
changelog: $(DOCS)/.stamp
	@$(DOCS)/bin/python -m towncrier build --yes --version "$$(cat version)"
	@sed -i "/^## $$(cat version), unreleased$$/,+1d" CHANGELOG.md

# Checks version and changelog, tags the commit, builds the packages, signs their checksums. Publishes nothing.
release: $(PACKAGING)/.stamp
	@tools/release

lint: $(LINT)/.stamp
	$(LINT)/bin/ruff check .
	$(LINT)/bin/ruff format --check .
	$(LINT)/bin/mypy
	tools/check-tree

format: $(LINT)/.stamp
	$(LINT)/bin/ruff check --fix .
	$(LINT)/bin/ruff format .

# Each has its turn even where an earlier one missed what is wanted of it; in the end one table says it of all. BENCH=qfile
# names one. What is compared takes turns, but a machine that does nothing else measures best.
bench: $(MAIN)/.stamp
	@$(ON_PATH):. $(MAIN)/bin/python -m benchmarks $(BENCH)

# Whether the tests notice when the library is changed; hours for all of it, and no part of CI. MODULE=values/timezone.py
# names one module, MODULE=wire one part; MODULE="--again wire" tries once more what survived the last time, and
# MODULE="--sample 40 dom0/push" 40 changes of each module, the same ones each time.
mutate: $(VENV)/mutation/.stamp
	@nice -n 10 $(VENV)/mutation/bin/python -m tests.mutation $(MODULE)

clean:
	rm -rf $(VENV) .fuzz build dist share .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# All that CI needs; `make --jobs` makes several at a time.
.PHONY: environments
environments: $(MAIN)/.stamp $(VENV)/salt3007/.stamp $(VENV)/salt3006/.stamp $(LINT)/.stamp $(FUZZ)/.stamp $(PACKAGING)/.stamp \
    $(DOCS)/.stamp

# Where PYTHON is given, tools/make-venv looks each time whether it has made the environment.
.PHONY: python-named
NAMED := $(if $(PYTHON),python-named)
python-named:

$(PACKAGING)/.stamp: requirements/packages.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $<

$(DOCS)/.stamp: requirements/docs.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $<

$(LINT)/.stamp: requirements/lint.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $<

COVERAGE := requirements/salt3008.txt requirements/test.txt requirements/coverage.txt
$(VENV)/coverage/.stamp: $(COVERAGE) tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $(COVERAGE)

MUTATION := requirements/salt3008.txt requirements/test.txt requirements/mutation.txt
$(VENV)/mutation/.stamp: $(MUTATION) tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $(MUTATION)

$(FUZZ)/.stamp: requirements/fuzz.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $<

# As in a dom0 of Qubes R4.3.
$(VENV)/salt3007/.stamp: export PREFER := 3.13
$(VENV)/salt%/.stamp: requirements/salt%.txt requirements/test.txt tools/make-venv $(NAMED)
	@tools/make-venv $(@D) $< requirements/test.txt
