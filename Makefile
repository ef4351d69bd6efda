# make e2e   from nothing to a verified cluster, and everything removed again
# make failover  the lab broken on purpose by every scenario, and what was felt
# make test  the same set-up, then linters, unit tests, e2e tests and ten scenarios in their lab; what CI runs
# make e2e-vm  five VMs to a DNS answer, then the tests of etcd, control plane and nodes; the last part of `make test`
# Options: PROVIDER=vagrant:libvirt for VMs; ARGS="-k etcd" goes to pytest; LAB_* variables as in `pytest --help`.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
ARGS ?=
# Of the tests that need a lab: `make test` adds ten scenarios of a minute each, in the same lab; MARK=e2e leaves them out.
MARK ?=
BOTH := e2e or (failover and ci)
PROVIDER ?=
ifneq ($(PROVIDER),)
export LAB_PROVIDER = $(PROVIDER)
endif
# Relative, for a rule cannot name a path with a blank in it.
VENV ?= .venv
STAMP := $(VENV)/.installed
# Kept, so that the tests can fill an empty environment without a network.
WHEELS := $(VENV)/wheels
OFFLINE = --no-index --find-links "$(WHEELS)"
# The part of `make test` on VMs: yes or no, how many seconds it is meant to take, and after how many it is ended: emulated
# VMs are as slow as the host is, and a slow host is no broken cluster.
VM ?= yes
VM_AIM ?= 720
VM_LIMIT ?= 1500
# Empty is no; what an environment has of its own by that name says nothing; on the command line it is a mistake.
ifneq ($(words $(filter yes no,$(VM))) $(words $(VM)),1 1)
ifeq ($(strip $(VM)),)
override VM := no
else ifeq ($(origin VM),environment)
override VM := yes
else ifneq ($(filter test,$(MAKECMDGOALS)),)
$(error VM=$(VM): there are only yes and no)
endif
endif
# One test of CoreDNS stands for the answer, for it asks for the stage of that name.
VM_TESTS := tests/e2e/test_etcd.py tests/e2e/test_control_plane.py tests/e2e/test_nodes.py \
	tests/e2e/test_coredns.py::test_the_service_of_dns_has_the_planned_address_and_both_transports
NOW := $(shell date +%s)
export THWLAB_BEGAN ?= $(NOW)
RUN := $(shell date +%Y%m%d-%H%M%S)-$(shell echo $$PPID)
export LAB_RUN ?= $(RUN)
export PYTHONDONTWRITEBYTECODE = 1
JUNIT = --junitxml=artifacts/$(LAB_RUN)
# Of all that pip says, a line for each package as it is asked for, built or installed.  Errors come as they are.
STEPS = sed -un -e 's/^ *Collecting \([^ ]*\).*/      \1/p' -e 's/^ *Building wheel for \([^ ]*\) .*started.*/      building \1/p' \
	-e 's/^Installing collected packages: \(.*\)/      \1/p'
PYTEST := "$(VENV)/bin/python" -m pytest -p no:randomly

.PHONY: e2e e2e-vm vm-part failover test unit lint host setup plain-path clean

failover: host
	$(PYTEST) -m failover -rs $(JUNIT)/junit-failover.xml $(ARGS)

e2e: host
	$(PYTEST) -m "$(or $(MARK),e2e)" -rs $(JUNIT)/junit-e2e.xml $(ARGS)

# In a run folder of its own, whose records have a clock of their own.  The limit is for VMs and tests, once packages and
# box are there; pytest is asked to end a minute before it, to remove the lab, and is killed at it.
e2e-vm: export LAB_PROVIDER = vagrant:libvirt:private
e2e-vm: export LAB_RUN := $(LAB_RUN)-vm
e2e-vm: setup
	@$(MAKE) --no-print-directory host || exit; "$(VENV)/bin/thwlab" artifacts fetch --image || exit; \
	read -r left grace < <(awk -v all="$(VM_LIMIT)" \
		'BEGIN {grace = all < 240 ? all / 4 : 60; print all - grace, grace}'); \
	began=$$(date +%s); status=0; timeout --foreground --signal=INT --kill-after="$$grace" "$$left" \
		$(PYTEST) $(VM_TESTS) -m e2e -rs $(JUNIT)/junit-e2e.xml $(ARGS) || status=$$?; \
	case $$status in 124|137) echo "e2e-vm: ended after $(VM_LIMIT) s, its limit (VM_LIMIT=3000 sets another);" \
		"what is left goes by: $(VENV)/bin/thwlab --provider vagrant:libvirt:private down" >&2;; esac; \
	took=$$(($$(date +%s) - began)); echo "e2e-vm: $$took s from the first VM to the removed lab; meant: $(VM_AIM)" \
		"$$([ "$$took" -le "$(VM_AIM)" ] || echo "- OVER")"; exit $$status

# Decides and says why; only what was left out for good reasons is no failure.
vm-part: setup
	@"$(VENV)/bin/python" -m lab.doctor.vmpart; status=$$?; \
	if [ $$status = 0 ]; then $(MAKE) --no-print-directory e2e-vm; else [ $$status = 3 ]; fi

# Without CI=true a host that can run no lab is told so in one line, and that is no failure.
# The host's packages come before the unit tests, some of which are tried with them.
# The caches are looked at before anything fills them, and the VMs come last; VM=no leaves them out.  So does what is red
# before them: that is recorded, and make's status stays its.
test: setup
	@$(if $(filter yes,$(VM)),export THWLAB_WARMTH="$$("$(VENV)/bin/python" -m lab.doctor.vmpart --caches)";) \
	$(MAKE) --no-print-directory lint && \
	if [ "$$CI" = true ] || "$(VENV)/bin/python" -m lab.doctor --can-host; \
	then $(MAKE) --no-print-directory host unit e2e MARK="$(or $(MARK),$(BOTH))"; \
	else $(MAKE) --no-print-directory unit; fi \
	$(if $(filter yes,$(VM)),|| { status=$$?; "$(VENV)/bin/python" -m lab.doctor.vmpart --red; exit $$status; } \
	&& $(MAKE) --no-print-directory vm-part)

unit: setup
	$(PYTEST) tests/unit -n 2 -rs $(JUNIT)/junit-unit.xml

lint: setup
	"$(VENV)/bin/ruff" check .
	"$(VENV)/bin/ruff" format --check .
	"$(VENV)/bin/mypy"
	MYPYPATH=tests/e2e "$(VENV)/bin/mypy" --explicit-package-bases tests/e2e
	MYPYPATH=tests/e2e:tests/failover "$(VENV)/bin/mypy" --explicit-package-bases tests/failover
	MYPYPATH=tests/boxes:tests/unit "$(VENV)/bin/mypy" --explicit-package-bases tests/boxes

# What the lab needs of this host. As root in CI it is installed, else the plan is shown and asked for.
host: setup
	"$(VENV)/bin/thwlab" doctor --fix

setup: $(STAMP)

$(STAMP): pyproject.toml
	@echo 'setup 1/4: Python'
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo 'setup 2/4: an environment of its own in $(VENV)'
	@"$(PYTHON)" -m venv "$(VENV)" || { echo 'if venv is missing: apt-get install python3-venv' >&2; exit 1; }
	@echo 'setup 3/4: download libraries and linters to $(WHEELS); at first this takes a minute or two'
	@"$(VENV)/bin/python" -m pip wheel --progress-bar off --wheel-dir "$(WHEELS)" '.[dev]' | $(STEPS)
	@rm -f "$(WHEELS)"/thwlab-*.whl
	@echo 'setup 4/4: install them and thwlab itself, from $(WHEELS) alone'
	@"$(VENV)/bin/python" -m pip install $(OFFLINE) hatchling editables | $(STEPS)
	@"$(VENV)/bin/python" -m pip install $(OFFLINE) --no-build-isolation --editable '.[dev]' | $(STEPS)
	@$(MAKE) --no-print-directory plain-path
	@touch "$(STAMP)"

# Before 3.13 Python reads where the checkout is by the locale, and with LC_ALL=C no program of the environment starts if
# its path has an umlaut: https://github.com/python/cpython/issues/77102
plain-path:
	@"$(PYTHON)" -c 'import pathlib, sys; \
		[f.write_text("import sys; sys.path.append(%a)\n" % path) \
		for f in pathlib.Path(sys.argv[1]).glob("lib/*/site-packages/_editable_impl_thwlab.pth") \
		if not (path := f.read_text("utf-8").strip()).isascii()]' "$(VENV)"

clean:
	rm -rf "$(VENV)" artifacts .mypy_cache .ruff_cache .pytest_cache
