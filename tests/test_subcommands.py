"""The list of subcommands: each leads to a module that runs it, and to examples that are its own."""

import importlib
import inspect
from pathlib import Path

import pytest

from lohovla import configs
from lohovla.subcommands import SUBCOMMANDS


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_subcommand_has_a_module_a_configuration_and_examples(name):
    subcommand = SUBCOMMANDS[name]
    run = importlib.import_module(subcommand.module).run
    assert list(inspect.signature(run).parameters) == ["config"]
    assert (Path(configs.__file__).parent / f"{name}.yaml").is_file()
    assert subcommand.examples
    assert all(example.split()[:2] == ["lohovla", name] for example in subcommand.examples)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_summary_is_one_sentence_on_one_line(name):
    summary = SUBCOMMANDS[name].summary
    assert summary[0].isupper()
    assert summary.endswith(".")
    assert "\n" not in summary


def test_no_two_subcommands_have_the_same_summary():
    assert len({one.summary for one in SUBCOMMANDS.values()}) == len(SUBCOMMANDS)
