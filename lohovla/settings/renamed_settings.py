"""Old names of settings, of their choices, of policies and commands: whoever uses one is told the new name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lohovla.errors import UserError

# Stages of training: folders of runs, lists in checkpoints and lines of logs may still have the old names.
_STAGES = {
    "see": "detector",
    "read": "symbolic",
    "code": "autoencoder",
    "plan": "planning",
    "act": "action",
    "paint": "subgoal",
}
# Settings of the model (recipe.model.KEY), which a checkpoint's config.json may still have by the old names.
MODEL_SETTINGS = {
    "bounds": "workspace_xy",
    "learned": "trained_stages",
    "look": "observe_position",
    "objects": "num_object_tokens",
    "picture": "picture_size",
    "subtasks": "use_subtasks",
}
# A setting's whole name to its last part's new name; "COMMAND:KEY" is of one command alone. What a robot's profile
# says of the control loop (robot.loop.KEY) is found as loop.KEY.
_SETTINGS = {
    "loop.join": "chunking_mode",
    "loop.execute": "n_action_steps",
    "loop.beta": "max_guidance_weight",
    "loop.decay": "temporal_ensemble_coeff",
    "loop.bridge": "blend_time",
    "loop.done_at": "success_threshold",
    "loop.patience": "subtask_timeout",
    "loop.failures": "max_subtask_failures",
    "loop.safety.hold": "hold_timeout",
    "loop.safety.late": "clock_jump_threshold",
    "loop.safety.change": "max_step",
    "loop.safety.turn_change": "max_turn_step",
    "loop.safety.camera_travel": "frozen_camera_distance",
    "policy.avoid": "exclude_failed",
    "policy.failures": "max_subtask_failures",
    "policy.done": "success_threshold",
    "policy.steps": "num_inference_steps",
    "policy.execute": "n_action_steps",
    "policy.stop": "allow_done",
    "policy.limit": "subtask_timeout",
    "policy.imagine": "generate_subgoals",
    "policy.coding": "image_encoding",
    "policy.patience": "reconnect_timeout",
    "robot.generation": "ros_version",
    "robot.top": "top_view_source",
    "robot.top_from": "top_view_cameras",
    "robot.top_every": "top_view_stride",
    "robot.frozen": "frozen_camera_frames",
    "robot.fresh": "max_age",
    "robot.max_age.acted": "observation",
    "robot.start.share": "initial_speed_fraction",
    "robot.start.ramp": "ramp_time",
    "robot.command.ahead": "lookahead",
    "robot.guard.margin": "speed_tolerance",
    "ros-sim:generation": "ros_version",
    "serve-text:page": "block_size",
    "serve-text:running": "max_num_seqs",
    "serve-text:waiting": "max_queue",
    "serve-text:step_tokens": "max_num_batched_tokens",
    "serve-text:share": "enable_prefix_caching",
    "preview-plan:most": "max_subtasks",
    "preview-plan:denoise": "num_inference_steps",
    "bench:joins": "chunking_modes",
    "generate:accept": "confidence_threshold",
    "generate:add": "block_add_threshold",
    "generate:activate": "decoded_token_threshold",
    "data.ring": "replay_buffer_size",
    "train:pictures": "subgoal_checkpoint",
    **{f"recipe.model.{old}": new for old, new in MODEL_SETTINGS.items()},
    **{f"recipe.stages.{old}": new for old, new in _STAGES.items()},
    **{f"recipe.stages.{stage}.fresh": "new_sample_fraction" for stage in _STAGES.values()},
    "recipe.stages.planning.tables": "symbolic_batch",
}
_CHOICES = {
    ("policy", "teacher"): "chunked-oracle",
    ("policy", "wander"): "random-waypoints",
    ("policy.replan", "patient"): "after_k_failures",
    **{("stage", old): new for old, new in _STAGES.items()},
}
_COMMANDS = {"imagine": "preview-plan"}
# Settings that have another meaning, too: what to write.
_MEANINGS = {"loop.max_subtask_failures": "one less than before: more failures than that bring a new plan"}


def new_stage(name: str) -> str:
    """The name that a stage of training has now."""
    return _STAGES.get(name, name)


def old_stage(name: str) -> str:
    """The name that a stage of training had before; the same where it was not renamed."""
    return next((old for old, new in _STAGES.items() if new == name), name)


def new_setting(command: str, key: str) -> str | None:
    """The name that a setting has now; None where ``key`` is no old name.

    Any part of it may be old: ``robot.fresh.acted`` is ``robot.max_age.observation``.

    Args:
        command: a root configuration; "" where the settings are not of a command.
        key: the setting's whole name.
    """
    parts: list[str] = []
    for part in key.split("."):
        name = ".".join([*parts, part])
        name = name.removeprefix("robot.") if name.startswith("robot.loop.") else name
        parts.append(_SETTINGS.get(f"{command}:{name}", _SETTINGS.get(name, part)))
    new = ".".join(parts)
    return None if new == key else new


def refuse_old_setting(command: str, key: str) -> None:
    """Raise a UserError that has the new name where ``key`` is a setting's old name; see :func:`new_setting`."""
    if (new := new_setting(command, key)) is not None:
        meaning = _MEANINGS.get(new.removeprefix("robot."), "")
        raise UserError(f"the setting {key} is called {new} now", f"write {new}=..." + f", {meaning}" * bool(meaning))


def refuse_old_choice(key: str, value: Any) -> None:
    """Raise a UserError that has the new name where ``value`` is what a choice of a setting was called before."""
    if isinstance(value, str) and (new := _CHOICES.get((key, value))) is not None:
        raise UserError(f"{key}={value} is called {key}={new} now", f"write {key}={new}")


def refuse_old_command(name: str) -> None:
    """Raise a UserError that has the new name where ``name`` is a command's old name."""
    if (new := _COMMANDS.get(name)) is not None:
        raise UserError(f"the command `lohovla {name}` is called `lohovla {new}` now", f"lohovla {new} --help")


def refuse_unknown(group: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a setting that a group does not have, and name its new name or the nearest one.

    Args:
        group: its name.
        given: its settings.
        known: names of those that there are.

    Raises:
        UserError: there is one.
    """
    for key in sorted(set(given) - set(known)):
        refuse_old_setting("", f"{group}.{key}")
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise UserError(f"{group} has no setting {key!r}", f"did you mean {nearest!r}?")
