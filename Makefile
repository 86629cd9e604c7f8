# Everything a reader or a contributor does. Needs Python 3.11 to 3.13 and make; the README says the same in lines of pip.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
ITS_TESTS = $(wildcard tests/test_$(NAME).py tests/test_$(NAME)_*.py tests/$(NAME))
ITS_TEXT = $(wildcard book/chapters/[0-9][0-9]_$(NAME).py)
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help book pdf links wheel test quick lab notebooks grade feedback bench clean

help:
	@echo "make book       build the book and say where to open it"
	@echo "make pdf        make a PDF of the book (needs Chromium or Chrome)"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make test       run everything that a change must pass"
	@echo "make test NAME=decoding    what one chapter needs, in minutes (or NAME=data, book, classroom, cli)"
	@echo "make quick      run the tests that take less than a minute"
	@echo "make notebooks  execute the notebooks that are stale"
	@echo "make grade      grade a class, or thirty sample submissions (book/teaching.md)"
	@echo "make bench      race our code against other libraries (ten minutes)"
	@echo "make wheel      build the package as a wheel, into dist/"
	@echo "make links      check that every link of the book leads somewhere (needs a network)"
	@echo "make clean      remove what was built (rm -rf .venv removes the environment)"

book: $(READY)
	@$(BIN)/jupyter-book build . --all -n -W --keep-going --quiet
	@echo
	@$(BIN)/python tools/notebooks.py check || true
	@echo "The book: file://$(CURDIR)/_build/html/index.html"
	@echo "To serve it: $(BIN)/python -m http.server --directory _build/html 8000"

pdf: $(READY)
	@$(BIN)/python -m tools.book.pdf

links: $(READY)
	@$(BIN)/jupyter-book build . --all --builder linkcheck

wheel: $(READY)
	@rm -rf build dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# One notebook or test file a worker; one thread each, so that two workers share two cores.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile
NBVAL = --nbval-lax --nbval-current-env --nbval-cell-timeout 900
test quick: export OMP_NUM_THREADS = 1
test: $(READY)
	@$(BIN)/ruff format --check --quiet . || { echo "Lay out what is listed with: $(BIN)/ruff format ."; $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check .
ifeq ($(NAME),)
	@$(PYTEST) $(NBVAL) tests notebooks
else
	@test -n "$(strip $(ITS_TESTS) $(ITS_TEXT))" || { echo "There is no chapter and no folder of tests named $(NAME)."; exit 1; }
	@$(PYTEST) $(NBVAL) $(ITS_TESTS) $(wildcard notebooks/[0-9][0-9]_$(NAME).ipynb)
	@$(if $(ITS_TEXT),$(PYTEST) tests/book -k "$(NAME) and not browser")
endif

quick: $(READY)
	@$(BIN)/ruff check .
	@$(PYTEST) -m "not slow" tests

lab: $(READY)
	@$(BIN)/jupyter lab notebooks

notebooks: $(READY)
	@$(BIN)/python tools/notebooks.py run

# make grade CLASS=folder ASSIGNMENT=A1 SEED=4711 DUE="2026-10-09 18:00"; with no class, thirty sample submissions.
CLASS ?= _build/classroom
ASSIGNMENT ?= A1
grade: $(READY)
	@test "$(CLASS)" != _build/classroom || $(BIN)/python -m tools.classroom.samples $(CLASS)
	@$(BIN)/python -m tools.classroom.grading grade "$(CLASS)" $(ASSIGNMENT) $(if $(SEED),--seed $(SEED)) $(if $(DUE),--due "$(DUE)")

# After the answers in words were graded by hand: the feedback and the CSV file again.
feedback: $(READY)
	@$(BIN)/python -m tools.classroom.grading export "$(CLASS)" $(ASSIGNMENT)

bench: $(READY)
	@$(BIN)/python -m mmcourse bench

clean:
	@rm -rf _build .pytest_cache .ruff_cache

# The environment follows requirements.txt: a change there installs again.
$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "This needs Python 3.11, 3.12 or 3.13, and found none: https://www.python.org/downloads/"; exit 1; }
	@echo "Installing into .venv (about 2 GB, a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
