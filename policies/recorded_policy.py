"""The policy of a checkpoint that learned from a robot's own recordings, on that robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from lohovla.data.dataset_layout import EE_NAMES
from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.geometry.workspace import STATE_NAMES
from lohovla.model.checkpoint import checkpoint_features
from lohovla.policies.base import Policy
from lohovla.policies.registry import make_policy


@dataclass(frozen=True)
class RobotOffers:
    """What a robot offers to a policy, in an environment's place.

    Attributes:
        name: of its profile.
        features: its cameras, state and ``ee`` actions.
        action_space: of one action (7,).
        control: ``ee``.
    """

    name: str
    features: RobotFeatures
    action_space: spaces.Box
    control: str = "ee"

    @property
    def unwrapped(self) -> RobotOffers:
        """Itself, as of Gymnasium's environments."""
        return self


def make_recorded_policy(settings: Mapping[str, Any], robot: str, cameras: Sequence[str]) -> Policy:
    """The policy of ``settings["checkpoint"]`` for a robot; it is built without it, also in another process.

    Commands are interpolated between actions, so that a robot takes actions at whatever rate they were recorded.

    Args:
        settings: of the policy.
        robot: name of the robot's profile, for messages.
        cameras: those whose pictures the robot gives.

    Raises:
        UserError: the checkpoint reads a camera that the robot lacks, or another state or action.
    """
    fps = checkpoint_features(settings["checkpoint"]).fps
    # Pictures of any size are resized to the checkpoint's.
    offered = tuple(CameraFeature(name, 0, 0) for name in cameras)
    features = RobotFeatures(offered, tuple(STATE_NAMES), tuple(EE_NAMES), fps)
    space = spaces.Box(-np.inf, np.inf, (len(EE_NAMES),), np.float32)
    return make_policy("lohovla", RobotOffers(f"robot={robot}", features, space), **settings)
