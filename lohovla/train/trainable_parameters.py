"""Which parameters a stage of training trains, and which are frozen: by stage, by ``freeze=[...]``, and with LoRA."""

from __future__ import annotations

from collections.abc import Sequence

from lohovla.errors import UserError

# What the stage ``imitation`` trains, by the names that ``freeze`` takes.
FREEZABLE_PARTS = {
    "vision": ("camera_encoder.", "vision.", "projector."),
    "language": ("decoder.", "kind_entry."),
    "state": ("state_entry.",),
    "keyframes": ("keyframe_head.",),
    "action": ("experts.action.", "camera_summary."),
}
_TRAINS = {
    "detector": ("stem.",),
    "symbolic": (
        "decoder.",
        "object_entry.",
        "state_entry.",
        "kind_entry.",
        "point_entry.",
        "pointer.query.",
        "pointer.object_key.",
        "roles.",
    ),
    "planning": (
        "decoder.",
        "vision.",
        "projector.",
        "object_entry.",
        "state_entry.",
        "kind_entry.",
        "point_entry.",
        "subgoal_entry.",
        "pointer.",
        "progress.",
        "experts.pick_place.",
    ),
    "action": ("experts.ee.",),
    "autoencoder": ("autoencoder.",),
    "subgoal": ("painter.",),
    "imitation": tuple(prefix for part in FREEZABLE_PARTS.values() for prefix in part),
}
_PRETRAINED = ("decoder.", "vision.", "projector.")


def check_freeze(freeze: Sequence[str]) -> None:
    """Refuse parts to freeze that do not exist, or that leave nothing to train.

    Args:
        freeze: names of :data:`FREEZABLE_PARTS`.

    Raises:
        UserError: such a part, or all of them.
    """
    for part in freeze:
        if part not in FREEZABLE_PARTS:
            raise UserError(f"freeze has no part {part!r}", f"choose one of {', '.join(FREEZABLE_PARTS)}")
    if freeze and set(freeze) >= FREEZABLE_PARTS.keys():
        raise UserError(
            "freeze names every part, so that nothing is learned", "leave out one part or more, such as action"
        )


def is_trained(
    parameter: str, stage: str, freeze: Sequence[str] = (), symbolic: bool = False, lora: bool = False
) -> bool:
    """Whether a parameter of the core is trained; it is frozen otherwise.

    Args:
        parameter: its name in the model.
        stage: name of the stage.
        freeze: parts that stay as they are, of :data:`FREEZABLE_PARTS`.
        symbolic: the stage learns from symbolic scenes, too.
        lora: the decoder has LoRA adapters: of it they alone are trained, and the vision tower is frozen.
    """
    frozen = tuple(prefix for part in freeze for prefix in FREEZABLE_PARTS[part])
    if frozen and parameter.startswith(frozen):
        return False
    if lora and parameter.startswith(_PRETRAINED):
        return stage in ("symbolic", "planning", "imitation") and ".lora_" in parameter
    return parameter.startswith(_TRAINS[stage]) or (symbolic and parameter.startswith("roles."))
