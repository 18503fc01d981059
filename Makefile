# make demo    the main job on demo data, through qgis_process; results in demo/
# make test    all tests but the slow ones        make test-slow    the slow ones
# make lint    every check of the code            make bench        races against peers
# make package the zip for QGIS's plugin manager  make clean        removes what was built
#
# Each installs what it needs first (make env). PYTHON is the interpreter that the environments are
# made with; that of the QGIS tests must be the one that QGIS uses.

# The engine sets this for itself (engine/environment.py); tests and benchmarks run without it.
export GOMP_SPINCOUNT ?= 1000

# A process per core with a thread each; the tests of a file share what they have set up.
PARALLEL = OMP_NUM_THREADS=1 .venv/bin/pytest tests --numprocesses auto --dist loadfile

PYTHON ?= /usr/bin/python3
QGIS_PYTHON ?= /usr/bin/python3
ROOMS = plugin algorithms engine workflows explainers models rasters
REQUIREMENTS = resources/engine-requirements.txt resources/dev-requirements.txt

.PHONY: env system demo test test-slow lint bench package package-links clean

env: system .venv/.stamp .venv-qgis/.stamp

system:
	@scripts/install-system.sh

.venv/.stamp: $(REQUIREMENTS) | system
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet $(addprefix -r ,$(REQUIREMENTS))
	@touch $@

.venv-qgis/.stamp: resources/qgis-requirements.txt | system
	test -x .venv-qgis/bin/python || $(QGIS_PYTHON) -m venv --system-site-packages .venv-qgis
	.venv-qgis/bin/python -m pip install --quiet -r resources/qgis-requirements.txt
	@touch $@

demo: env
	scripts/demo.sh

test: env
	$(PARALLEL) -m "not slow"
	scripts/in-qgis .venv-qgis/bin/pytest tests/qgis -m "not slow"

# pytest's exit code 5 means that no test there is slow.
test-slow: env
	$(PARALLEL) -m slow
	scripts/in-qgis .venv-qgis/bin/pytest tests/qgis -m slow || [ $$? -eq 5 ]

lint: env package-links
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	PYTHONPATH=.cache/package .venv/bin/lint-imports --cache-dir .cache/import-linter
	.venv/bin/bandit --quiet --configfile pyproject.toml --recursive __init__.py $(ROOMS) scripts
	git ls-files -z | xargs -0 .venv/bin/detect-secrets-hook

bench: env
	.venv/bin/python benchmarks/run.py

package:
	$(PYTHON) scripts/package.py

# The checkout may have any name; the checkers see it under the package's own.
package-links:
	@mkdir -p .cache/package/explanation_layers
	@for part in __init__.py $(ROOMS); do ln -sfn "$(CURDIR)/$$part" .cache/package/explanation_layers/$$part; done

clean:
	rm -rf build demo .cache .pytest_cache .ruff_cache .hypothesis
