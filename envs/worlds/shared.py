"""Worlds that are open in this process: each is opened once, whoever asks for it."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from lohovla.envs.worlds.world import World


def shared_world(settings: Mapping[str, Any]) -> World:
    """The world of some settings, opened if it is not yet; the one before ends.

    Raises:
        UserError: it cannot be made.
    """
    return _opened(json.dumps(dict(settings), sort_keys=True))


@functools.lru_cache(maxsize=1)
def _opened(settings: str) -> World:
    return World(json.loads(settings))
