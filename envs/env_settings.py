"""What the settings of the block world's environment may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lohovla.envs.actions import CONTROLS
from lohovla.envs.language import vocabulary
from lohovla.errors import UserError

# Rates whose period is a whole number of physics steps.
CONTROL_RATES = (5.0, 8.0, 10.0, 20.0, 25.0, 40.0, 50.0, 100.0)


def check_env_settings(
    control: str,
    control_hz: float,
    robot: str,
    gripper: str,
    colors: str | None,
    drop_probability: float,
    seconds_per_action: float,
) -> None:
    """Refuse settings of :class:`~lohovla.envs.env.BlocksEnv` that cannot be.

    Raises:
        UserError: one of them is unknown or out of its range.
    """
    check_choice("control", control, CONTROLS)
    check_choice("robot", robot, ("ur5e", "menagerie"))
    check_choice("gripper", gripper, ("suction", "jaw"))
    check_choice("colors", colors, (None, *vocabulary()["palettes"]))
    if not 0.0 <= drop_probability < 1.0:
        raise UserError(
            f"drop_probability must lie in [0, 1), not {drop_probability}",
            "it is the probability per second that suction loses a held block",
        )
    if control_hz not in CONTROL_RATES:
        rates = ", ".join(f"{rate:g}" for rate in CONTROL_RATES)
        raise UserError(
            f"control_hz cannot be {control_hz}",
            f"a control period is a whole number of physics steps: choose one of {rates}",
        )
    if not 0.0 < seconds_per_action < float("inf"):
        raise UserError(f"seconds_per_action cannot be {seconds_per_action}", "8 is the default")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse a value that is none of some choices.

    Raises:
        UserError: it is not.
    """
    if value not in choices:
        raise UserError(f"{name} cannot be {value!r}", f"choose one of {', '.join(map(str, choices))}")
