"""What a request says: an observation for the policy, and beside it what is for the server (``request.*``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.client.image_codec import decode_picture, is_coded
from lohovla.client.msgpack_codec import unpack_message
from lohovla.client.policy_client import REQUEST_PREFIX
from lohovla.client.request_error import RequestError

_KINDS: dict[str, tuple[type, ...]] = {
    "id": (int, str),
    "episode": (int, str),
    "reset": (bool,),
    "seed": (int,),
    "step": (int,),
    "reward": (float, int),
    "timestamp": (int, float),
    "deadline_ms": (int, float),
}
_LOWEST = {"seed": 0, "step": 0, "deadline_ms": 1}
_LONGEST, _LONGEST_ID = 4096, 128  # characters of a string


@dataclass(frozen=True)
class PolicyRequest:
    """One request.

    Attributes:
        observation: what the policy reads, checked; nothing else.
        extras: ``request.*`` by the name after the dot: ``id``, ``timestamp`` and ``episode`` are sent back
            with the reply; ``reset`` and ``seed`` begin an episode, as does another ``episode`` than before;
            ``step`` and ``reward`` are for the policy; ``deadline_ms`` shortens the server's own.
    """

    observation: dict[str, Any]
    extras: dict[str, Any]

    @property
    def echo(self) -> dict[str, Any]:
        """What the reply repeats, so that a client knows what it belongs to."""
        return {
            f"{REQUEST_PREFIX}{key}": self.extras[key] for key in ("id", "timestamp", "episode") if key in self.extras
        }


class ObservationSchema:
    """What a policy's observations must look like, so that those of several clients can be stacked.

    Args:
        keys: what the policy reads.
        space: the observations of the environment that it is for.

    Raises:
        KeyError: the policy reads what the environment does not have.
    """

    def __init__(self, keys: tuple[str, ...], space: Mapping[str, gym.Space]):
        self._spaces = {key: space[key] for key in keys}

    def describe(self) -> dict[str, dict[str, Any]]:
        """Shape and dtype by key, for the metadata; a string has shape null."""
        return {
            key: {"shape": list(space.shape), "dtype": space.dtype.str}
            if isinstance(space, gym.spaces.Box)
            else {"shape": None, "dtype": "str"}
            for key, space in self._spaces.items()
        }

    def blank(self) -> dict[str, Any]:
        """An observation of zeros, and some instruction."""
        return {
            key: np.zeros(space.shape, space.dtype) if isinstance(space, gym.spaces.Box) else "Put it there."
            for key, space in self._spaces.items()
        }

    def parse(self, data: bytes) -> PolicyRequest:
        """Decode and check a request.

        Raises:
            RequestError: it is malformed, lacks a key, or has a value of another shape or type.
        """
        message = unpack_message(data)
        extras = {
            key.removeprefix(REQUEST_PREFIX): value for key, value in message.items() if key.startswith(REQUEST_PREFIX)
        }
        for key, value in extras.items():
            _check_extra(key, value)
        return PolicyRequest({key: self._value(key, message) for key in self._spaces}, extras)

    def _value(self, key: str, message: Mapping[str, Any]) -> Any:
        space = self._spaces[key]
        if key not in message:
            raise RequestError(f"the observation lacks {key!r}; the policy reads {', '.join(self._spaces)}")
        value = message[key]
        if not isinstance(space, gym.spaces.Box):
            if not isinstance(value, str) or len(value) > _LONGEST:
                raise RequestError(f"{key} is a string of at most {_LONGEST} characters")
            return value
        if is_coded(value):
            value = decode_picture(value, max_pixels=int(np.prod(space.shape[:2])))
        if isinstance(value, list) and space.dtype.kind == "f":
            value = _numbers(key, value)
        if not isinstance(value, np.ndarray):
            raise RequestError(f"{key} is an array, not {type(value).__name__}")
        if value.shape != space.shape:
            raise RequestError(f"{key} has shape {space.shape}, not {value.shape}")
        if space.dtype.kind == "f" and value.dtype.kind in "fiu":
            value = value.astype(space.dtype, copy=False)
            if not np.isfinite(value).all():
                raise RequestError(f"{key} holds a value that is no finite number")
        if value.dtype != space.dtype:
            raise RequestError(f"{key} is {space.dtype}, not {value.dtype}")
        return value


def _numbers(key: str, value: list[Any]) -> np.ndarray:
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        raise RequestError(f"{key} is an array of numbers") from None


def _check_extra(key: str, value: Any) -> None:
    if key not in _KINDS:
        raise RequestError(f"there is no {REQUEST_PREFIX}{key}; choose one of {', '.join(_KINDS)}")
    fits = isinstance(value, _KINDS[key]) and (bool in _KINDS[key] or not isinstance(value, bool))
    if isinstance(value, str):
        fits &= len(value) <= _LONGEST_ID
    elif isinstance(value, int | float):
        fits &= abs(value) < float("inf") and value >= _LOWEST.get(key, -float("inf"))
    if not fits:
        raise RequestError(f"{REQUEST_PREFIX}{key} cannot be {value!r:.40}")
