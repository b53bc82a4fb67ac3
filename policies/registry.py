"""Policies by name, each with its settings; ``configs/policy`` holds one file of defaults a policy."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from lohovla.errors import UserError
from lohovla.extensions import load_extension, load_path, refuse_unknown_name
from lohovla.policies.base import Policy
from lohovla.settings.renamed_settings import refuse_old_choice, refuse_old_setting


def _oracle(env: Any) -> Policy:
    from lohovla.policies.oracle import OraclePolicy

    return OraclePolicy(env.control, env.action_space.shape, env.control_hz)


def _expert(env: Any) -> Policy:
    from lohovla.policies.expert import ExpertPolicy

    if not getattr(env, "has_expert", False):
        raise UserError("policy=expert needs a world that brings an expert", "use world=metaworld, or policy=oracle")
    return ExpertPolicy(env.control, env.action_space.shape, env.control_hz)


def _random(env: Any) -> Policy:
    from lohovla.policies.random import RandomPolicy

    return RandomPolicy(env.control, env.action_space.low, env.action_space.high, env.control_hz)


def _remote(env: Any, url: str, **settings: Any) -> Policy:
    from lohovla.policies.remote import RemotePolicy

    check_settings("remote", RemotePolicy, {"url": url, **settings})
    return RemotePolicy(env, url, os.environ.get("LOHOVLA_API_KEY"), **settings)


def _lerobot(
    env: Any, checkpoint: str | None = None, device: str = "cpu", rename: Mapping[str, str] | None = None
) -> Policy:
    from lohovla.policies.lerobot_policy import LeRobotPolicy

    if checkpoint is None:
        raise UserError(
            "policy=lerobot has no checkpoint", "policy.checkpoint=FOLDER/pretrained_model of lerobot-train"
        )
    return LeRobotPolicy(env, checkpoint, device, rename)


def _chunked_oracle(env: Any) -> Policy:
    from lohovla.policies.chunked_oracle import ChunkedOraclePolicy

    settings = {"task": env.task.name, "colors": env.colors, "paraphrase": env.paraphrase}
    rules = {name: getattr(env.rules, name) for name in ("control_hz", "robot", "gripper", "seconds_per_action")}
    return ChunkedOraclePolicy({**settings, **rules})


def _random_waypoints(env: Any) -> Policy:
    from lohovla.policies.random_waypoints import RandomWaypointPolicy

    return RandomWaypointPolicy()


def _custom(env: Any, factory: str | None, **settings: Any) -> Policy:
    make = load_path(str(factory or ""), "policy.factory")
    return _of_another_package(str(factory), make, env, settings)


def _of_another_package(name: str, make: Callable[..., Policy], env: Any, settings: Mapping[str, Any]) -> Policy:
    check_settings(name, make, settings)
    for key, parameter in inspect.signature(make).parameters.items():
        if parameter.default is parameter.empty and key in settings and settings[key] is None:
            raise UserError(f"policy {name} needs {key}", f"set policy.{key}=VALUE")
    policy = make(env, **settings)
    if not isinstance(policy, Policy):
        raise UserError(
            f"policy {name} made a {type(policy).__name__}", "its function returns a lohovla.policies.base.Policy"
        )
    return policy


# Settings of the block world's policy that the policy of a robot's checkpoint has too.
_SHARED_SETTINGS = (
    "num_inference_steps",
    "n_action_steps",
    "planner",
    "success_threshold",
    "subtask_timeout",
    "allow_done",
)


def _lohovla(
    env: Any, checkpoint: str | None = None, device: str = "cpu", rename: Mapping[str, str] | None = None, **rules: Any
) -> Policy:
    from lohovla.model.checkpoint import reads_features
    from lohovla.policies.policy_config import LoHoVLAPolicyConfig

    check_settings("lohovla", LoHoVLAPolicyConfig, rules, env=False)
    if checkpoint is not None and reads_features(checkpoint):
        from lohovla.policies.robot_policy import make_robot_policy

        defaults = vars(LoHoVLAPolicyConfig())
        changed = {name: value for name, value in rules.items() if value != defaults[name]}
        if other := [name for name in changed if name not in _SHARED_SETTINGS]:
            raise UserError(
                f"policy.{other[0]} is a setting of the block world's checkpoints, which {checkpoint} is not",
                f"of its settings, this one takes {', '.join(_SHARED_SETTINGS)}",
            )
        # What counts as done differs: a chance there, a share of the sub-task here.
        own = {name: rules[name] for name in rules if name in changed or name in _SHARED_SETTINGS}
        if "success_threshold" not in changed:
            own.pop("success_threshold", None)
        return make_robot_policy(env, checkpoint, device, rename, **own)
    from lohovla.policies.lohovla import make

    if rename:
        raise UserError("policy.rename is for checkpoints of `lohovla train dataset=...`", "leave it out")
    return make(env, checkpoint, device, **rules)


_POLICIES: dict[str, Callable[..., Policy]] = {
    "lohovla": _lohovla,
    "oracle": _oracle,
    "expert": _expert,
    "random": _random,
    "remote": _remote,
    "lerobot": _lerobot,
    "chunked-oracle": _chunked_oracle,
    "random-waypoints": _random_waypoints,
    "custom": _custom,
}


def make_policy(name: str, env: Any, **settings: Any) -> Policy:
    """The policy of that name for an environment.

    Args:
        name: one of those registered here, of an installed package (entry point ``lohovla.policies``), or
            ``package.module:function``; all but the first kind are called as ``function(env, **settings)``.
        env: the environment whose observations and actions it is for.
        settings: the policy's own; ``configs/policy/<name>.yaml`` lists them.

    Raises:
        UserError: there is none of that name, or it has no such setting; the message names what there is.
    """
    if name not in _POLICIES:
        refuse_old_choice("policy", name)
        if ":" not in name:
            refuse_unknown_name("policy", name, _POLICIES)
        make = load_path(name, "policy") if ":" in name else load_extension("policy", name)
        return _of_another_package(name, make, env.unwrapped, settings)
    check_settings(name, _POLICIES[name], settings)
    return _POLICIES[name](env.unwrapped, **settings)


def check_settings(name: Any, takes: Callable[..., Any], settings: Mapping[str, Any], env: bool = True) -> None:
    """Refuse settings that ``takes``, which may want the environment first, would not take."""
    try:
        inspect.signature(takes).bind(*[None] * env, **settings)
    except TypeError as error:
        if name in _POLICIES:
            for key in sorted(settings.keys() - inspect.signature(takes).parameters.keys()):
                refuse_old_setting("", f"policy.{key}")
        raise UserError(f"policy {name}: {error}", "its settings are given as policy.KEY=VALUE") from None


def judging_for_itself(settings: Mapping[str, Any], allow_done: bool, **block_world: Any) -> dict[str, Any]:
    """Settings of ``lohovla`` that judges its progress by itself, as on a robot.

    Args:
        settings: as the user gave them.
        allow_done: whether it may say that all is done.
        block_world: further settings, of the block world's checkpoints alone.
    """
    from lohovla.model.checkpoint import reads_features

    if reads_features(settings.get("checkpoint")):  # of any robot: it has no other way to judge
        return {**settings, "allow_done": allow_done}
    return {**settings, "progress": "model", "allow_done": allow_done, **block_world}


def split_settings(policy: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A policy's name and its own settings, from the ``policy`` group of a configuration.

    >>> split_settings({"name": "custom", "factory": "robots.mine:make"})
    ('custom', {'factory': 'robots.mine:make'})
    """
    settings = dict(policy)
    return str(settings.pop("name")), settings
