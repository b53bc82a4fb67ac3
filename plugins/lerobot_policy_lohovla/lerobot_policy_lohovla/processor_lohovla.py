"""Pre- and post-processors: names, batches and devices are LeRobot's; numbers go to the core as they are."""

from __future__ import annotations

from typing import Any

from lerobot.processor import PolicyAction, PolicyProcessorPipeline, make_default_pre_post_processors
from lerobot_policy_lohovla.configuration_lohovla import LeRobotLoHoVLAConfig


def make_lohovla_pre_post_processors(
    config: LeRobotLoHoVLAConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]], PolicyProcessorPipeline[PolicyAction, PolicyAction]
]:
    """LeRobot's default steps; its normalisation is the identity (``config.normalization_mapping``)."""
    return make_default_pre_post_processors(config, dataset_stats)
