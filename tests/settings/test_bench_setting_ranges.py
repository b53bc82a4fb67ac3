"""The settings of ``lohovla bench`` have ranges, and the shipped values lie in them."""

import pytest
from omegaconf import OmegaConf

from lohovla.errors import UserError
from lohovla.settings.bench_setting_ranges import BENCH
from lohovla.settings.hydra_config import check_values, compose

GOOD = {"seconds": 0.5, "problems": 1, "chain_prompts": 0, "delays": [0.0, 0.3], "blocks": [1, 2], "adapters": ["a"]}
BAD = {
    "seconds": 0,
    "demonstrations": 0,
    "repeats": 0,
    "scenes": 0,
    "problems": 0,
    "chain_prompts": -1,
    "sweep": -1,
    "answers": 0,
    "tokens": 0,
    "requests": 0,
    "delays": [-0.1],
    "rates": [0],
    "blocks": [0],
    "trials": 0,
    "presses": 0,
    "faults": 0,
    "hz": "fast",
    "minutes": "long",
    "clients": 1.5,
    "rounds": 2.5,
    "backend": 1.5,
    "ablations": 1.5,
    "adapters": 1.5,
    "peer_parts": 1.5,
    **{f"python.{peer}": 1.5 for peer in ("lerobot", "metaworld", "openpi", "robosuite", "roslibpy")},
}


_NONE = object()


def check(**given):
    config = compose("bench", [])
    for name, value in given.items():
        OmegaConf.update(config, name, value)
    check_values("bench", config, compose("bench", []))
    return config


def test_every_setting_is_one_of_the_command_and_fits_its_default():
    config = compose("bench", [])
    assert {name for name in BENCH if OmegaConf.select(config, name, default=_NONE) is _NONE} == set()
    check()


def test_every_range_refuses_something():
    assert set(BAD) == set(BENCH)


@pytest.mark.parametrize("name", GOOD)
def test_values_in_range_are_taken(name):
    assert check(**{name: GOOD[name]})[name] == GOOD[name]


@pytest.mark.parametrize("name", BAD)
def test_values_out_of_range_are_refused_by_name(name):
    with pytest.raises(UserError, match=name):
        check(**{name: BAD[name]})
