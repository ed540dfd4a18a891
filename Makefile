# Every command sets itself up: `make report` and `make test` work in a fresh clone.
PYTHON ?= python3
STUDY  ?= demo
DATA   ?=
SMALL  ?= 0
RUNS   ?=
PDF    ?= 1
ONLY   ?= *
BIN    := .venv/bin
READY  := .venv/.ready
PEERS  := .venv/.peers

.DEFAULT_GOAL := help
.PHONY: help setup report lab test test-slow smoke bench clean

help:  ## say what there is
	@echo "make report [STUDY=demo] [DATA=folder or demo] [SMALL=1] [RUNS='resnet18*'] [PDF=0]"
	@echo "                 train what is not up to date, then HTML and PDF; SMALL: a course's study for a CPU"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make test        lint, types, tests, notebooks (about 8 minutes on 2 cores)"
	@echo "make test-slow   what takes longer"
	@echo "make smoke       every course study in small: one epoch of each way through the code, and its report"
	@echo "make bench [ONLY='input*']"
	@echo "                 our speed beside what people would use instead, which is installed for it into .venv"
	@echo "make setup       .venv from requirements.lock, and a browser for the PDF (the others call it)"
	@echo "make clean       remove .venv and caches; what was run stays in reports/"
	@echo "studies: $(sort $(patsubst params/%.yaml,%,$(wildcard params/*.yaml params/*/*.yaml)))"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m labkit.reporting.browser --optional
	@touch $(READY)

report: $(READY)
	$(BIN)/labkit report $(STUDY) $(if $(DATA),--data "$(DATA)") $(if $(filter 1,$(SMALL)),--small) \
		$(if $(RUNS),--runs $(foreach run,$(RUNS),'$(run)')) $(if $(filter 0,$(PDF)),--no-pdf)

lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -m "not slow"
	LABKIT_REPORTS=$(CURDIR)/reports/.test $(BIN)/labkit run tiny
	LABKIT_REPORTS=$(CURDIR)/reports/.test $(BIN)/python -m pytest --nbval notebooks

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

smoke: $(READY)  # a part of test-slow
	$(BIN)/python -m pytest -m slow tests/test_smoke.py

# The lock holds what is there already at its versions: what is compared must not change what is measured.
$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c requirements.lock -e '.[bench]'
	@touch $(PEERS)

bench: $(PEERS)
	$(BIN)/labkit bench --only '$(ONLY)'

clean:
	rm -rf .venv reports/.test reports/.cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
