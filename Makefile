# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROS2 := $(VENV)/.ros2

.PHONY: help demo test test-slow lint types docs package format bench numbers ros clean

help:
	@echo "make demo       solve a long-horizon task and film it"
	@echo "make test       run the tests"
	@echo "make test-slow  the checks that take minutes"
	@echo "make lint types style and types, as CI checks them"
	@echo "make docs       the documentation site, in site/"
	@echo "make package    wheel and source package, in dist/"
	@echo "make ros        install Debian's ROS 1, for the tests of real nodes"
	@echo "make bench      the simulator's speed"
	@echo "make numbers    the oracle's success on every task (about ten minutes)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lohovla needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environments here: apt-get install -y python3-venv"; exit 2; }
	@sh scripts/opengl.sh $(PYTHON)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,menagerie]' -c constraints.txt
	@touch $@

# ROS 2 from wheels, for the tests of real nodes; they are skipped where there are none.
$(ROS2): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[ros2]' -c constraints.txt 2>/dev/null || \
		echo "no wheels of ROS 2 for this machine: the tests with it are skipped"
	@touch $@

demo: $(READY)
	$(BIN)/lohovla demo

# ROS 1 and ROS 2 have messages of the same names: a process has the ones or the others.
test: $(ROS2)
	$(BIN)/python -m pytest -n auto -m 'not slow and not ros1'
	$(BIN)/python -m pytest -m 'not slow and ros1' tests/ros/test_ros1.py || [ $$? -eq 5 ]

test-slow: $(ROS2)
	$(BIN)/python -m pytest -n auto -m 'slow and not ros1'
	$(BIN)/python -m pytest -m 'slow and ros1' tests/ros/test_ros1.py || [ $$? -eq 5 ]

lint: $(READY) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/vulture

types: $(READY)
	$(BIN)/pyright

# Strictly: a page that is not listed, or a link that leads nowhere, is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

package: $(READY)
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/lohovla bench sim

numbers: $(READY)
	$(BIN)/lohovla evaluate suite=all control=pick_place episodes=100
	$(BIN)/lohovla evaluate suite=all control=ee episodes=100
	$(BIN)/lohovla evaluate suite=all control=pick_place episodes=100 env.drop_probability=0.1
	$(BIN)/lohovla evaluate suite=all control=ee episodes=100 env.drop_probability=0.1

ros:
	@sh scripts/ros.sh

clean:
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache
