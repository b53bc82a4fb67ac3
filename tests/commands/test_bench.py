"""The table of benchmarks fits the programs and the settings."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import lohovla.configs
from lohovla.cli import main
from lohovla.commands.bench import _AS_THEY_GO, _BENCHMARKS, _LISTS, _value, run
from lohovla.errors import UserError


@pytest.fixture(scope="module")
def config():
    return OmegaConf.load(Path(lohovla.configs.__path__[0]) / "bench.yaml")


@pytest.mark.parametrize("what", _BENCHMARKS)
def test_each_takes_what_it_is_given(config, what):
    module, settings = _BENCHMARKS[what]
    extra = len(_AS_THEY_GO[what](config, Path())) if what in _AS_THEY_GO else 0
    signature = inspect.signature(importlib.import_module(f"lohovla.benchmarks.{module}").run)
    signature.bind(*range(extra + len(settings)))
    lists = [
        name for name, p in list(signature.parameters.items())[extra:] if str(p.annotation).startswith(("list", "Seq"))
    ]
    assert len(lists) == sum(setting in _LISTS for setting in settings)
    for setting in settings:
        assert setting in config


def test_a_list_may_be_given_bare():
    assert _value(OmegaConf.create({"parts": "nano"}), "parts") == ["nano"]
    assert _value(OmegaConf.create({"parts": ["nano", "d2f"]}), "parts") == ["nano", "d2f"]
    assert _value(OmegaConf.create({"task": "B"}), "task") == "B"


def test_an_unknown_benchmark_is_named():
    with pytest.raises(UserError, match="modle") as caught:
        run(OmegaConf.create({"what": "modle"}))
    assert "lohovla bench model" in str(caught.value.remedy)


@pytest.mark.parametrize(("what", "package"), [("serve-text", "uvicorn"), ("serve", "websockets")])
def test_servers_without_their_extra(what, package, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["bench", what]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert cause.endswith(f"needs {package}")
    assert remedy.strip() == "pip install 'lohovla[serve]'"


_REFUSED = [(what, words) for what in ("policy", "decision", "picture") for words in (["tasks=[A,Z]"], ["tasks=[]"])]


@pytest.mark.parametrize(("what", "words"), [*_REFUSED, ("policy", ["tasks=[A]", "ablations=[foo]"])])
def test_what_is_refused_leaves_nothing(what, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", what, *words]) == 2
    cause, _ = capsys.readouterr().err.splitlines()[-2:]
    assert cause.removeprefix("lohovla: ") in (
        "there is no task 'Z'",
        "tasks is an empty list",
        "there is no ablation 'foo'",
    )
    assert list(tmp_path.iterdir()) == []
