"""Stack blocks of the same color in the zone with same color, with the bigger blocks underneath."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.stack import Stack, pairs_on_zones


class StackSmallerOverBiggerWithSameColorInSameColorZone(Task):
    """Three to five colours, each with a zone, a big and a small block."""

    name = "stack-smaller-over-bigger-with-same-color-in-same-color-zone"
    split = Split.UNSEEN
    letter = "I"
    spare = 3

    def build(self, layout: SceneSampler) -> tuple[Goal, dict[str, str]]:
        return Stack(pairs_on_zones(layout, layout.pick_colors(layout.count(3, 5)), BIG, SMALL)), {}


TASK = StackSmallerOverBiggerWithSameColorInSameColorZone
