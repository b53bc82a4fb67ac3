"""Weights of eight bits: close to the whole ones, and each row's result its own."""

import copy
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lohovla.d2f.engine import Engine, EngineSettings
from lohovla.d2f.engine.weight_quantization import QuantizedLinear, quantize_linear
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("engine_tests", Path(__file__).parent / "test_engine.py")
engine_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(engine_tests)
shared = engine_tests.shared


@pytest.mark.parametrize(("kind", "bound"), [(torch.int8, 0.012), (torch.float8_e4m3fn, 0.04)])
def test_a_narrow_layer_is_close_to_the_whole_one(kind, bound):
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 48), torch.randn(2, 5, 64)
    made = QuantizedLinear(layer, kind)
    assert made.weight.element_size() == 1
    error = (made(x) - layer(x)).norm() / layer(x).norm()
    assert 0 < error < bound


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_narrow_weights_serve_and_company_changes_no_bit(models, kind):
    denoiser = shared.wrap(copy.deepcopy(models[True]), True)
    quantize_linear(SimpleNamespace(denoisers=[denoiser]), kind)
    assert not any(type(module) is nn.Linear for module in denoiser.decoder.modules())
    requests = [engine_tests.request(p, engine_tests.LIMITS[k % 4]) for k, p in enumerate(engine_tests.draw(6, 5))]
    crowd = engine_tests.finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5)), requests)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    for one, among in zip(requests, crowd, strict=True):
        assert engine_tests.finish(engine, [one])[0] == among


def test_unknown_kinds_are_refused():
    with pytest.raises(UserError, match="int4"):
        quantize_linear(SimpleNamespace(), "int4")
