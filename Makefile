# Every command sets itself up: `make report` and `make test` work in a fresh clone.
PYTHON ?= python3
STUDY  ?= demo
DATA   ?=
SMALL  ?= 0
RUNS   ?=
PDF    ?= 1
TRAIN  ?= 1
ONLY   ?= *
DEVICE ?= cpu
SCHEDULER ?=
BIN    := .venv/bin
READY  := .venv/.ready
PEERS  := .venv/.peers

.DEFAULT_GOAL := help
.PHONY: help setup report sample lab check test test-slow smoke bench gpu lock audit licences clean

help:  ## say what there is
	@echo "make report [STUDY=demo] [DATA=folder or demo] [SMALL=1] [RUNS='resnet18*'] [PDF=0] [TRAIN=0]"
	@echo "                 train what is not up to date, then HTML and PDF; SMALL: a course's study for a CPU"
	@echo "                 TRAIN=0: only what is finished, with a stamp on what is out of date"
	@echo "                 SCHEDULER=tcp://host:8786: the runs on the workers of a Dask cluster"
	@echo "make sample      the demo's report into reports/sample, which is in the repository"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make check       lint, types, layers and quick tests (under 90 seconds)"
	@echo "make test        the same with all fast tests and the notebooks (7 minutes on 2 cores)"
	@echo "make test-slow   what takes longer: kills, full disks, a cluster, a browser (half an hour)"
	@echo "make smoke       every course study in small: one epoch of each way through the code, and its report"
	@echo "make bench [ONLY='input*'] [DEVICE=cuda]"
	@echo "                 our speed beside what people would use instead, which is installed for it into .venv"
	@echo "make gpu         what only a GPU can show: a demo, memory that ends, a stopped run (400 s)"
	@echo "make setup       .venv from requirements.lock, and a browser for the PDF (the others call it)"
	@echo "make lock        requirements.lock anew from pyproject.toml, versions kept; UPGRADE=1: the newest ones"
	@echo "make audit       ask PyPI whether a locked package has a known vulnerability (needs the internet)"
	@echo "make licences    name, version and licence of every package that is installed for labkit"
	@echo "make clean       remove .venv and caches; what was run stays in reports/"
	@echo "studies: $(sort $(patsubst params/%.yaml,%,$(wildcard params/*.yaml params/*/*.yaml)))"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11, 5) or sys.exit("Python 3.11.5 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m labkit.reporting.page.browser --optional
	@touch $(READY)

ASKED = $(strip $(STUDY) $(if $(DATA),--data "$(DATA)") $(if $(filter 1,$(SMALL)),--small) \
	$(if $(RUNS),--runs $(foreach run,$(RUNS),'$(run)')) $(if $(filter 0,$(PDF)),--no-pdf) $(if $(filter 0,$(TRAIN)),--no-train) \
	$(if $(SCHEDULER),--scheduler "$(SCHEDULER)"))

report: $(READY)
	$(BIN)/labkit report $(ASKED)

sample: report  # without the pages that it links to, which are not there
	mkdir -p reports/sample
	sed '/<div class="links">/,/<\/header>/{/<\/header>/!d}' reports/demo/report.html > reports/sample/report.html
	cp reports/demo/report.pdf reports/sample/report.pdf

lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

.PHONY: tools
tools: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: tools
	$(BIN)/python -m pytest -n 2 -m "quick and not slow"

test: tools
	$(BIN)/python -m pytest -n 2 -m "not slow"
	LABKIT_REPORTS="$(CURDIR)/reports/.test" $(BIN)/labkit run tiny
	LABKIT_REPORTS="$(CURDIR)/reports/.test" $(BIN)/python -m pytest --nbval notebooks

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder  # a file makes its study once

smoke: $(READY)  # a part of test-slow
	$(BIN)/python -m pytest -m slow tests/slow/test_smoke.py

# The lock holds what is there already at its versions: what is compared must not change what is measured.
$(PEERS): $(READY)
	sed -n '/^[A-Za-z0-9]/s/ *\\$$//p' requirements.lock > .venv/pins.txt  # without hashes, which the peers have not
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c .venv/pins.txt -e '.[bench]'
	@touch $(PEERS)

bench: $(PEERS)
	$(BIN)/python tests/benchmarks/run.py --only '$(ONLY)' --device $(DEVICE)

gpu: $(READY)  # writes its logs to OUT, /tmp/gpu-out unless that is set
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/gpu/check.sh correct

# Tools for these two alone stay out of .venv, whose packages are those of the lock.
TOOLS := .venv/tools

lock: $(READY)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(TOOLS)/bin/uv pip compile pyproject.toml --extra dev --extra light --extra cluster --universal --python-version 3.11.5 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" $(if $(filter 1,$(UPGRADE)),--upgrade) \
		--quiet --output-file requirements.lock

audit: $(READY)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

licences: $(READY)
	$(BIN)/pip-licenses --ignore-packages labkit

clean:
	rm -rf .venv reports/.test reports/.cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
