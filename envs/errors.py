"""What an environment refuses. Nothing was simulated when one of these is raised."""

from __future__ import annotations

from lohovla.errors import UserError


class ActionError(UserError, ValueError):
    """An action that is not an array of finite numbers of the right shape."""


class EpisodeOver(UserError, RuntimeError):
    """An action after the end of an episode, or before its start."""
