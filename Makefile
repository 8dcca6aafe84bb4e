# make env    create .venv with the project and its pinned requirements
# make demo   make scenes, cut, train, test: fig_results/demo
# make demo-data   make scenes and cut them, without a training
# make demo-real DATA=PATH   train and test on UUAD, or on Dubai with SET=dubai: fig_results/demo_uuad
# make test   lint, types, and all tests but test-browser's; WORKERS=8 on a larger machine
# make lint   style and types alone
# make test-quick   style, and the tests that neither train nor run commands, for every save
# make test-browser   the report and maps in a browser; needs Debian's package chromium
# make docs    the site of the pages under docs: site/index.html
# make test-faults    kills, full disks, damaged images, hostile checkpoints: all trials, in 3 minutes

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
# Processes that test, of one thread each: most of their time is start-ups.
WORKERS ?= 2
# In the order of tests/conftest.py.
BY_FILE := --dist loadfile --no-loadscope-reorder

DEMO_CONFIG := config/demo/bicor.py
DEMO_DATA := data/demo
DEMO_RESULTS := fig_results/demo

# Sets that anybody can download, and epochs for a quarter of an hour on two cores.
SET := uuad
EPOCHS_uuad := 5
EPOCHS_dubai := 10
EPOCHS ?= $(EPOCHS_$(SET))
REAL_CONFIG := config/$(SET)/bicor.py
REAL_RESULTS := fig_results/demo_$(SET)

.PHONY: env demo demo-data demo-real lint test test-quick test-browser test-faults docs

env: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'
	touch $@

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/installed-docs: .venv/installed
	$(BIN)/pip install -e '.[docs]'
	touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) $(BY_FILE)

test-quick: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) $(BY_FILE) -m "not slow and not browser"

test-browser: env
	$(BIN)/pytest -m browser

# make test runs a twentieth of these trials.
test-faults: env
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) tests/faults --faults 1

# $(call demo_split,SPLIT,MODE,MASKS,FLAGS)
define demo_split
$(RUN) tools/vaihingen_patch_split.py --mode $(2) --split-size 256 --stride 256 $(4) \
	--img-dir $(DEMO_DATA)/tiles/$(1)_images --mask-dir $(DEMO_DATA)/tiles/$(1)_$(3) \
	--output-img-dir $(DEMO_DATA)/$(1)/images_256
endef

demo-data: env
	$(RUN) tools/make_demo_data.py --output $(DEMO_DATA)/tiles
	$(call demo_split,train,train,masks) --output-mask-dir $(DEMO_DATA)/train/masks_256
	$(call demo_split,val,val,masks) --output-mask-dir $(DEMO_DATA)/val/masks_256
	$(call demo_split,test,val,masks,--gt) --output-mask-dir $(DEMO_DATA)/test/masks_256_rgb
	$(call demo_split,test,val,masks_eroded,--eroded) --output-mask-dir $(DEMO_DATA)/test/masks_256

demo: demo-data
	$(RUN) train.py -c $(DEMO_CONFIG)
	rm -rf $(DEMO_RESULTS)
	$(RUN) test_vaihingen.py -c $(DEMO_CONFIG) -o $(DEMO_RESULTS) -t dihedral --rgb --report
	$(RUN) tools/make_panel.py -c $(DEMO_CONFIG) -i $(DEMO_RESULTS) -o $(DEMO_RESULTS)/figures/panel.png

demo-real: env
	@if [ ! -d "$(DATA)" ]; then \
		echo "error: DATA=$(DATA): no such folder; give that of the data set, as docs/data.md says" >&2; \
		exit 2; \
	fi
	$(RUN) train.py -c $(REAL_CONFIG) "data.root=$(DATA)" optim.epochs=$(EPOCHS)
	rm -rf $(REAL_RESULTS)
	$(RUN) test_custom.py -c $(REAL_CONFIG) -o $(REAL_RESULTS) -t dihedral --rgb --report "data.root=$(DATA)"
	$(RUN) tools/make_panel.py -c $(REAL_CONFIG) -i $(REAL_RESULTS) \
		-o $(REAL_RESULTS)/figures/panel.png "data.root=$(DATA)"
