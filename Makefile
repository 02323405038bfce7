# Two commands for a fresh machine; both build their own virtual environment.
PYTHON ?= python3

.PHONY: quickstart test lint

quickstart: .venv/installed
	.venv/bin/tulu run quickstart

test: .venv-dev/installed
	OMP_NUM_THREADS=1 .venv-dev/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile

lint: .venv-dev/installed
	.venv-dev/bin/ruff check
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/mypy

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -e .
	touch $@

# The last line serves models in the tests; model2vec[distill] asks for an older transformers, and works with this one.
.venv-dev/installed: pyproject.toml
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-dev/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	.venv-dev/bin/pip install --quiet --disable-pip-version-check 'transformers[serving]>=5.20'
	touch $@
