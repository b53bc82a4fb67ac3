"""Policies by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from lohovla.errors import UserError
from lohovla.policies.base import Policy


def _oracle(env: Any) -> Policy:
    from lohovla.policies.oracle import OraclePolicy

    return OraclePolicy(env.control, env.action_space.shape, env.control_hz)


def _random(env: Any) -> Policy:
    from lohovla.policies.random import RandomPolicy

    return RandomPolicy(env.control, env.action_space.low, env.action_space.high, env.control_hz)


def _teacher(env: Any) -> Policy:
    from lohovla.policies.teacher import TeacherPolicy

    settings = {"task": env.task.name, "colors": env.colors, "paraphrase": env.paraphrase}
    rules = {name: getattr(env.rules, name) for name in ("control_hz", "robot", "gripper", "seconds_per_action")}
    return TeacherPolicy({**settings, **rules})


def _wander(env: Any) -> Policy:
    from lohovla.policies.wander import WanderPolicy

    return WanderPolicy()


_POLICIES: dict[str, Callable[[Any], Policy]] = {
    "oracle": _oracle,
    "random": _random,
    "teacher": _teacher,
    "wander": _wander,
}


def make_policy(name: str, env: Any) -> Policy:
    """The policy of that name for an environment.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in _POLICIES:
        nearest = difflib.get_close_matches(name, _POLICIES, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no policy {name!r}", f"did you mean {nearest!r}? choose of {', '.join(_POLICIES)}")
    return _POLICIES[name](env.unwrapped)
