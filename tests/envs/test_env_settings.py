"""Settings of the block world that cannot be are refused, each with what can be."""

import pytest

from lohovla.envs.actions import CONTROLS
from lohovla.envs.env_settings import CONTROL_RATES, check_choice, check_env_settings
from lohovla.envs.language import vocabulary
from lohovla.errors import UserError

DEFAULTS = {
    "control": "ee",
    "control_hz": 20.0,
    "robot": "ur5e",
    "gripper": "suction",
    "colors": None,
    "drop_probability": 0.0,
    "seconds_per_action": 8.0,
}
PHYSICS_STEP = 0.0025  # s; the longest that all rates have in common


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("control", CONTROLS),
        ("control_hz", CONTROL_RATES),
        ("robot", ("ur5e", "menagerie")),
        ("gripper", ("suction", "jaw")),
        ("colors", (None, *vocabulary()["palettes"])),
        ("drop_probability", (0.0, 0.5, 0.999)),
        ("seconds_per_action", (0.1, 8, 1e6)),
    ],
)
def test_what_can_be_is_taken(name, values):
    assert values
    for value in values:
        check_env_settings(**{**DEFAULTS, name: value})


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("control", "joints", "ee"),
        ("control_hz", 30.0, "20"),
        ("robot", "panda", "ur5e"),
        ("gripper", "hand", "suction"),
        ("colors", "pastel", "train"),
        ("drop_probability", 1.0, "held block"),
        ("drop_probability", -0.1, "held block"),
        ("drop_probability", float("nan"), "held block"),
        ("seconds_per_action", 0.0, "8"),
        ("seconds_per_action", float("inf"), "8"),
        ("seconds_per_action", float("nan"), "8"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name, value, remedy):
    with pytest.raises(UserError) as refused:
        check_env_settings(**{**DEFAULTS, name: value})
    assert name in refused.value.cause
    assert str(value) in refused.value.cause
    assert remedy in refused.value.remedy


def test_every_rate_has_a_period_of_whole_physics_steps():
    assert all((1 / rate / PHYSICS_STEP) == pytest.approx(round(1 / rate / PHYSICS_STEP)) for rate in CONTROL_RATES)


def test_a_choice_names_the_others():
    check_choice("colour", None, (None, "red"))
    with pytest.raises(UserError, match="colour cannot be 'blue'") as refused:
        check_choice("colour", "blue", ("red", "green"))
    assert refused.value.remedy == "choose one of red, green"
