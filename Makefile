# make lab and make test are all that a newcomer needs; both make .venv first, once.

# Python 3.11 or newer, from which .venv is made.
PYTHON ?= python3
# Where torch comes from. For the small build without CUDA: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Passed on: make lab LAB_FLAGS="--no-browser --port=9999"; make test TEST_FLAGS="-k rain"
LAB_FLAGS ?=
TEST_FLAGS ?= -n 2 --dist worksteal
# Threads of each process that tests: two processes share two cores best with one each.
OMP_NUM_THREADS ?= 1
# make weights: the time, trainings side by side (on a GPU: 4), where they go, and more, for example WEIGHTS_FLAGS="--scale full"
MINUTES ?= 60
JOBS ?= 2
OUT ?= runs/weights
TABLES ?= runs/tables
WEIGHTS_FLAGS ?=
# make tables: as make weights, for example TABLES_FLAGS="--plans brn qsnet"
TABLES_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python -m pytest $(TEST_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help setup lab quick test ci notebooks notebooks-all weights tables pack style format

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(READY) ## make .venv with everything in its tested version

lab: $(READY) ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab $(LAB_FLAGS) notebooks/00_start_here.ipynb

quick: style ## two minutes of tests while you work: no notebook, no research data, nothing slow
	$(PYTEST) --quick

test: style ## check the style and run every test, notebooks included
	$(PYTEST)

ci: test ## what CI runs: make test, and the widgets through a browser, where there are playwright and Chromium
	OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python -m pytest --browser tests/browser

notebooks: $(READY) ## run the notebooks and store their outputs
	$(BIN)/python -m derainlib.lab.publish

notebooks-all: $(READY) ## run every notebook twice: as stored, and with other parameters
	$(PYTEST) --all-notebooks tests/notebooks

weights: $(READY) ## train the shipped networks further: make weights MINUTES=60 JOBS=2
	$(BIN)/python tools/train_weights.py $(OUT) --minutes $(MINUTES) --jobs $(JOBS) $(WEIGHTS_FLAGS)

tables: $(READY) ## train the papers' ablation tables again: make tables MINUTES=60 JOBS=2
	$(BIN)/python tools/tables.py $(TABLES) --minutes $(MINUTES) --jobs $(JOBS) $(TABLES_FLAGS)

pack: $(READY) ## put what weights trains on into the small folder pack/, for a machine that has nothing else
	$(BIN)/python tools/pack.py pack

style: $(READY) ## check the style alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is missing or older than Python 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.txt
	$(BIN)/python -m pip install --no-deps --editable .
	@touch $@
