"""Stack blocks of the same color in the zone with same color, with the smaller blocks underneath."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.grammar.meaning import Meaning, Place
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class StackBiggerOverSmallerWithSameColorInSameColorZone(Task):
    """Three to five colours, each with a zone, a big and a small block."""

    name = "stack-bigger-over-smaller-with-same-color-in-same-color-zone"
    split = Split.ADDITIONAL
    spare = 3

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(3, 5))
        for color in colors:
            layout.zone(color, 0.15)
        for color in colors:
            for edge in (SMALL, BIG):
                layout.block(color, edge)
        return Meaning("tower", by="color", order="smaller-first", where=Place("zone", "same")), {}


TASK = StackBiggerOverSmallerWithSameColorInSameColorZone
