"""The cameras, state and action that a data set has, found by LeRobot's names; what has other names is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lohovla.data import dataset_layout
from lohovla.data.features import ACTION, IMAGES, STATE, camera_name, name_list, numbered, rename_setting
from lohovla.errors import UserError

ENVIRONMENT_STATE = "observation.environment_state"
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class PictureFeature:
    """A camera of a data set.

    Attributes:
        feature: the name in ``info.json``.
        name: of the camera, after renaming.
        height: of its pictures, pixels.
        width: of its pictures.
        video: whether they are a video, not pictures in the tables.
    """

    feature: str
    name: str
    height: int
    width: int
    video: bool


@dataclass(frozen=True)
class DatasetFeatures:
    """What of a data set is read.

    Attributes:
        cameras: the cameras.
        state: the state's feature, None without one.
        state_names: names of its numbers.
        action: the action's feature.
        action_names: names of its numbers.
        unread: features that a policy could be thought to read, and does not.
    """

    cameras: tuple[PictureFeature, ...]
    state: str | None
    state_names: tuple[str, ...]
    action: str
    action_names: tuple[str, ...]
    unread: tuple[str, ...]


def find_features(features: Mapping[str, Mapping[str, Any]], rename: Mapping[str, str], where: str) -> DatasetFeatures:
    """What of the features of ``info.json`` is read.

    Args:
        features: the features.
        rename: names of the data set to names read: cameras with or without ``observation.images.``, and whole
            features (``actions: action``). Names that the set does not have are left to the caller.
        where: the data set's name, for messages.

    Raises:
        UserError: it has no action; or a state or pictures whose names are not LeRobot's.
    """
    named = {_renamed(feature, rename): feature for feature in features}
    if len(named) < len(features):
        raise UserError(f"rename={{...}} gives two features of {where} the same name", "give each another name")
    cameras = tuple(
        PictureFeature(
            feature, camera_name(name), *picture_size(features[feature]), features[feature]["dtype"] == "video"
        )
        for name, feature in named.items()
        if _is_camera(name, features[feature])
    )
    _refuse_foreign(named, features, where)
    names = {
        kind: _names_of(features[named[feature]], kind) if feature in named else ()
        for kind, feature in (("state", STATE), ("action", ACTION))
    }
    read = {STATE, ACTION, *(IMAGES + camera.name for camera in cameras)}
    unread = tuple(
        feature
        for name, feature in named.items()
        if name not in read
        and (name.startswith(("observation.", "depth.")) and not _is_camera(name, features[feature]))
    )
    return DatasetFeatures(cameras, named.get(STATE), names["state"], named[ACTION], names["action"], unread)


def _renamed(feature: str, rename: Mapping[str, str]) -> str:
    target = rename.get(feature, rename.get(camera_name(feature)))
    if target is None:
        return feature
    return target if target in (ACTION, STATE) or target.startswith("observation.") else IMAGES + target


def picture_size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of a feature of pictures, whose channels may come first or last."""
    shape = entry["shape"]
    names = entry.get("names")
    if isinstance(names, list) and len(names) == 3:
        named = dict(zip(names, shape, strict=True))
        if "height" in named and "width" in named:
            return named["height"], named["width"]
    first = shape[0] in _CHANNELS and shape[2] not in _CHANNELS
    return (shape[1], shape[2]) if first else (shape[0], shape[1])


def is_depth(entry: Mapping[str, Any]) -> bool:
    """Whether a feature of pictures is depth."""
    info = entry.get("info") or {}
    pictures = entry["dtype"] in ("video", "image")
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map") or (pictures and "unit" in info))


def _is_camera(name: str, entry: Mapping[str, Any]) -> bool:
    return entry["dtype"] in ("video", "image") and name.startswith("observation.") and not is_depth(entry)


def _refuse_foreign(named: Mapping[str, str], features: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Refuse a set whose action, state or pictures have names that would leave them unread."""
    pairs: dict[str, str] = {}
    numbers = [name for name in named if _is_vector(features[named[name]])]
    if ACTION not in named:
        pairs.update({named[name]: ACTION for name in numbers if name in ("actions", "observation.action")})
        if not pairs:
            raise UserError(
                f"{where} has no action: it has {name_list(list(named))}",
                "only demonstrations can be learned from; a column of another name is read with"
                " 'rename={NAME: action}'",
            )
    if STATE not in named:
        likely = [name for name in numbers if name in ("state", "observation.states", "observation.qpos", "qpos")]
        pairs.update({named[name]: STATE for name in likely[:1]})
    if not any(_is_camera(name, features[feature]) for name, feature in named.items()):
        strange = [
            f for f in named.values() if features[f]["dtype"] in ("video", "image") and not is_depth(features[f])
        ]
        pairs.update({feature: feature.rpartition(".")[2] for feature in strange})
    if pairs:
        raise UserError(
            f"{where} names features otherwise than LeRobot does: {name_list(list(pairs))}",
            f"if they are what their names say, write {rename_setting(pairs)}",
        )


def _is_vector(entry: Mapping[str, Any]) -> bool:
    return entry["dtype"].startswith(("float", "int", "uint", "bool"))


def _names_of(entry: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Names of a feature's numbers, from whichever form they have; numbered if there are none, or too few."""
    count = math.prod(entry["shape"])
    names = tuple(_flat(entry.get("names")))
    return names if len(names) == count and len(set(names)) == count else numbered(kind, count)


def _flat(names: Any) -> list[str]:
    if isinstance(names, str):
        return [names]
    if isinstance(names, Mapping):
        if all(isinstance(place, int) for place in names.values()):
            return sorted(names, key=lambda name: names[name])
        return [name for part in names.values() for name in _flat(part)]
    if isinstance(names, Sequence):
        return [name for part in names for name in _flat(part)]
    return []


def depth_features(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the features that are depth."""
    return [name for name, entry in features.items() if is_depth(entry) or dataset_layout.depth_size(entry)]
