"""What a policy reads and says, and what a data set, an environment, a robot or a client offers: one description."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lohovla.errors import UserError

IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"  # names of LeRobot's features
STATISTICS = ("mean", "std", "min", "max", "q01", "q99", "count")
_FPS_TOLERANCE = 1e-3  # relative


@dataclass(frozen=True)
class CameraFeature:
    """A camera.

    Attributes:
        name: without ``observation.images.``.
        height: of its pictures, pixels.
        width: of its pictures.
        depth: whether there is depth too.
    """

    name: str
    height: int
    width: int
    depth: bool = False


@dataclass(frozen=True)
class RobotFeatures:
    """Cameras, state and actions by name.

    Attributes:
        cameras: the cameras.
        state_names: names of the state's numbers; :func:`numbered` where they have none.
        action_names: names of an action's numbers, likewise.
        fps: observations and actions a second.
        statistics: of ``state`` and ``action``, each statistic of :data:`STATISTICS` a list of a number for each
            dimension (``count`` of one for all: frames); may be empty.
    """

    cameras: tuple[CameraFeature, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    fps: float
    statistics: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "cameras": [{"name": c.name, "height": c.height, "width": c.width, "depth": c.depth} for c in self.cameras],
            "state_names": list(self.state_names),
            "action_names": list(self.action_names),
            "fps": self.fps,
            "statistics": {key: {k: list(v) for k, v in entry.items()} for key, entry in self.statistics.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RobotFeatures:
        """From JSON.

        Raises:
            ValueError: it is no such description.
        """
        try:
            return cls(
                tuple(CameraFeature(**camera) for camera in values["cameras"]),
                tuple(values["state_names"]),
                tuple(values["action_names"]),
                float(values["fps"]),
                {key: {k: list(v) for k, v in entry.items()} for key, entry in values.get("statistics", {}).items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no description of features: {error!r}") from None


def numbered(kind: str, count: int) -> tuple[str, ...]:
    """Names for numbers that have none: ``state_0``, ``state_1``, ..."""
    return tuple(f"{kind}_{number}" for number in range(count))


def match_features(
    reads: RobotFeatures,
    offers: RobotFeatures,
    rename: Mapping[str, str],
    where: str,
    *,
    check_fps: bool = True,
    renamed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Find what is read in what is offered.

    Args:
        reads: of the reader: a checkpoint, or the first of several data sets.
        offers: of a data set, an environment, a robot or a client; it may have cameras to spare.
        rename: names offered to names read, of cameras: ``{front: top}`` lets ``front`` be read as ``top``.
        where: who offers, for messages: ``demos/mixed``, ``the robot profile ur5e``.
        check_fps: whether the rates must be the same.
        renamed: what ``rename={...}`` has already done to what is offered, for the setting that an error prints.

    Returns:
        The name offered of each camera that is read.

    Raises:
        UserError: a camera is missing, the state or the action is another, or the rate.
    """
    offered = [camera.name for camera in offers.cameras]
    given = {camera_name(source): camera_name(target) for source, target in rename.items()}
    found = find_cameras([camera.name for camera in reads.cameras], offered, given, where, renamed)
    _match_numbers("state", reads.state_names, offers.state_names, where)
    _match_numbers("action", reads.action_names, offers.action_names, where)
    if check_fps and abs(reads.fps - offers.fps) > _FPS_TOLERANCE * reads.fps:
        raise UserError(
            f"{where} has {offers.fps:g} frames a second, not {reads.fps:g}",
            "actions of one rate mean another motion at the other: use data, a world or a robot of the same rate",
        )
    return found


def camera_name(feature: str) -> str:
    """A camera's name from its feature's: ``observation.images.top`` is ``top``, ``observation.image`` ``image``."""
    return feature.removeprefix(IMAGES).removeprefix("observation.")


def find_cameras(
    reads: Sequence[str],
    offered: Sequence[str],
    rename: Mapping[str, str],
    where: str,
    renamed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The name offered of each camera that is read; the cameras' part of :func:`match_features`.

    Raises:
        UserError: one is not there, or ``rename`` speaks of one that is not.
    """
    if unknown := [name for name in rename if name not in offered]:
        raise UserError(f"{where} has no camera {unknown[0]!r} to rename", f"it has {name_list(offered)}")
    if unread := [name for name in rename.values() if name not in reads]:
        raise UserError(f"rename={{...}} names a camera {unread[0]!r}, which is not read", f"read: {name_list(reads)}")
    found: dict[str, str] = {}
    for source in offered:
        target = rename.get(source, source)
        if target not in found or source in rename:
            if target in found and found[target] in rename:
                raise UserError(f"rename={{...}} gives two cameras the name {target!r}", "give each another name")
            found[target] = source
    lost = [name for name in reads if name not in found]
    if not lost:
        return {name: found[name] for name in reads}
    spare = [name for name in offered if name not in reads and name not in rename]
    cause = f"{where} has no camera {name_list(lost)}: it has {name_list(offered)}"
    if len(spare) < len(lost):
        raise UserError(cause, "a policy needs every camera that it was trained with: add it, or train without it")
    pairs = {**(renamed or {}), **rename, **guess_pairs(lost, spare)}
    raise UserError(cause, f"if these are the same cameras, write {rename_setting(pairs)}")


def guess_pairs(lost: Sequence[str], spare: Sequence[str]) -> dict[str, str]:
    """Names offered to names read, the most similar first."""
    likeness = [(difflib.SequenceMatcher(None, a, b).ratio(), b, a) for a in lost for b in spare]
    pairs: dict[str, str] = {}
    for _, source, target in sorted(likeness, key=lambda entry: -entry[0]):
        if source not in pairs and target not in pairs.values():
            pairs[source] = target
    return pairs


def rename_setting(pairs: Mapping[str, str]) -> str:
    """What to write on a command line, quoted for the shell."""
    return "'rename={" + ", ".join(f"{source}: {target}" for source, target in pairs.items()) + "}'"


def name_list(names: Sequence[str]) -> str:
    """Names in a row, or ``none``."""
    return ", ".join(names) or "none"


def _match_numbers(kind: str, reads: Sequence[str], offers: Sequence[str], where: str) -> None:
    if len(reads) != len(offers):
        raise UserError(
            f"{where} has {'an' if kind == 'action' else 'a'} {kind} of {len(offers)} numbers, not {len(reads)}:"
            f" {name_list(offers)} instead of {name_list(reads)}",
            f"it is another robot, or another {kind}: use one that matches, or train anew",
        )
    if numbered(kind, len(reads)) in (tuple(reads), tuple(offers)):
        return  # one of them has no names
    for dimension, (name, other) in enumerate(zip(reads, offers, strict=True)):
        if name != other:
            order = "in another order" if sorted(reads) == sorted(offers) else "another"
            raise UserError(
                f"{where} has the {kind} {order}: number {dimension} is {other!r}, not {name!r}",
                f"expected {name_list(reads)}; it has {name_list(offers)}",
            )
