# make demo: train the lesson's MLP and show what it misread.   make test: the tests.
# Both do all the set-up by themselves, in .venv, and do it once.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
.PHONY: demo test slow lint docs sanitize wheel bench faults mutants ranges resolve clean

$(BIN)/python:
	python3 -m venv $(VENV)

# pip first, on its own: the pinned one knows dependency groups; the one that venv brings may not
$(VENV)/runtime: constraints.txt pyproject.toml setup.py $(wildcard src/misread/engine/kernels/*) | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt pip
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev: $(VENV)/runtime
	$(PIP) install --quiet --constraint constraints.txt --group dev
	@touch $@

demo: $(VENV)/runtime
	$(BIN)/misread demo

# tests start hundreds of processes: without stored bytecode each would first compile what it imports of misread
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

# a file's tests stay in one process, since they share trainings, browsers and servers
test: $(VENV)/dev
	OMP_NUM_THREADS=1 $(PYTEST) --numprocesses 2 --dist loadfile --no-loadscope-reorder

# tests that take long, and those that compile the kernels again, with two compilers and for ARM
slow: $(VENV)/dev
	$(PYTEST) -m slow --ignore tests/builds/test_sanitizers.py

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

# the documentation as a site: site/index.html; a broken link is an error
docs: $(VENV)/dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees docs site

# the kernels under the address, undefined-behaviour and thread sanitizers: a fuzz of random networks, and the engine's tests
sanitize: $(VENV)/dev
	MISREAD_CI=1 MISREAD_SANITIZE=3000 $(PYTEST) -m slow tests/builds/test_sanitizers.py

# without build/, from which setuptools would take files that are gone from the sources
wheel: $(BIN)/python
	rm -rf build
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

.venv-peers/done: benchmarks/peers.txt constraints.txt
	python3 -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --requirement benchmarks/peers.txt
	@touch $@

bench: $(VENV)/dev .venv-peers/done
	$(BIN)/python benchmarks/bench.py --readme
	$(BIN)/python benchmarks/scaling.py --readme
	$(BIN)/python benchmarks/together.py --readme

# kills, full disks, damaged and hostile files; half an hour, on Linux, with the right to mount
faults: $(VENV)/dev
	$(BIN)/python benchmarks/faults.py

$(VENV)/mutation: $(VENV)/dev
	$(PIP) install --quiet --constraint constraints.txt --group mutation
	@touch $@

mutants: $(VENV)/mutation
	$(BIN)/python benchmarks/mutants.py

# Both ends of the ranges in pyproject.toml, with all extras, for each Python that it names. Nothing is installed: a few kB of each package say what it needs.
# The lowest versions that have wheels for a Python count: older ones cannot be installed there without compilers
VERSIONS := lowest-direct highest
PYTHONS = $(or $(shell sed -n 's/.*"Programming Language :: Python :: \(3[.][0-9]*\)".*/\1/p' pyproject.toml),$(error pyproject.toml names no Python))
ranges: $(VENV)/dev
	@failed=; found=; for versions in $(VERSIONS); do for python in $(PYTHONS); do \
	  if pins=$$($(BIN)/uv pip compile --quiet --no-header --no-annotate --only-binary :all: --all-extras \
	      --resolution $$versions --python $(BIN)/python --python-version $$python pyproject.toml); then \
	    set -- $$pins; \
	    echo "$$versions, Python $$python: all extras, $$# packages"; \
	    found="$$found\n$$versions, Python $$python: $$*"; \
	  else failed="$$failed $$versions/$$python"; fi; \
	done; done; \
	if [ -n "$$failed" ]; then printf '%b\n' "$$found" "Not resolved:$$failed"; exit 1; fi

# The tests that need no browser, with the lowest and the highest versions, each in a fresh environment that has the extras they use. One part again:
# make resolve VERSIONS=highest PARTS="lab cli"
# Old packages may warn of what is deprecated in new ones below them. torch stays the build that the first environment has: another one brings gigabytes
# all of tests but builds, whose tests are slow, and docs, which needs Sphinx. pytest ends with 5 where all tests of a part are slow
PARTS := $(filter-out builds docs __pycache__,$(patsubst %/,%,$(patsubst tests/%,%,$(wildcard tests/*/ tests/test_*.py))))
resolve: ranges
	failed=; export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"; for versions in $(VERSIONS); do \
	  env=.venv-$$versions; \
	  install="$(BIN)/uv pip install --quiet --python $$env --resolution $$versions --constraint $$env/torch.txt"; \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python $$env && \
	  $(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $$env/torch.txt && \
	  $$install --editable . --group test || { failed="$$failed $$versions/install"; continue; }; \
	  for part in $(PARTS); do \
	    echo "$$versions, tests/$$part"; \
	    $$env/bin/python -m pytest -m 'not slow and not browser' -W default::DeprecationWarning tests/$$part || [ $$? = 5 ] || failed="$$failed $$versions/$$part"; \
	  done; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi

clean:
	rm -rf $(VENV) .venv-peers .venv-axe .venv-lowest-direct .venv-highest build dist site mutants
