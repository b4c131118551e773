# make demo    compress and decode a photograph at three rates (PHOTO=path for your own), in a fresh .venv
# make test    style, types, arrows of imports and tests
# make lint    style, types and arrows of imports only
# make web     the part for browsers, into src/dpc/web/static: `dpc web` serves it; takes node 20 or newer
# make docs    the site of the documentation, in site/
# make clean   remove .venv, caches and the demo's output

PYTHON ?= python3
PHOTO ?= demo/photo.png
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# Without node the part for browsers is left out, and said so.
NODE := $(shell node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null && command -v npm)
NO_NODE := node 20 or newer is not here: web/ is neither built nor tested

.PHONY: demo test lint docs web clean
.DELETE_ON_ERROR:

demo: $(VENV)/runtime.stamp
	$(BIN)/python scripts/demo.py "$(PHOTO)"

test: lint web
	$(if $(NODE),cd web && npm test)
	$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp $(if $(NODE),web/node_modules/stamp)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(if $(NODE),cd web && npm run lint,@echo "$(NO_NODE)")

web: $(if $(NODE),src/dpc/web/static/index.html.gz)
	$(if $(NODE),,@echo "$(NO_NODE)")

src/dpc/web/static/index.html.gz: web/node_modules/stamp web/build.mjs web/place.mjs $(shell find web/src -type f)
	cd web && npm run --silent build && npm run --silent place

web/node_modules/stamp: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) demo/out build dist site web/dist web/node_modules web/test/out src/dpc/web/static .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run quick: nothing is installed again until these files change.
$(VENV)/runtime.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/docs.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/runtime.stamp

# torchvision lies beside the environment, not in it: its wheel is built for another torch, and libraries that find it
# import it and fail. The tests that need it look there.
$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps --upgrade --target $(VENV)/torchvision torchvision
	@touch $@ $(VENV)/docs.stamp $(VENV)/runtime.stamp
