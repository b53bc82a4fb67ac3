"""Stack blocks of the same color in the zone with same color, with the smaller blocks underneath."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.registry import Split
from lohovla.envs.tasks.stack_smaller_over_bigger_with_same_color_in_same_color_zone import (
    StackSmallerOverBiggerWithSameColorInSameColorZone,
)


class StackBiggerOverSmallerWithSameColorInSameColorZone(StackSmallerOverBiggerWithSameColorInSameColorZone):
    """Three to five colours, each with a zone, a big and a small block; the other order of sizes."""

    name = "stack-bigger-over-smaller-with-same-color-in-same-color-zone"
    split = Split.ADDITIONAL
    letter = ""
    order, sizes = "smaller-first", (SMALL, BIG)


TASK = StackBiggerOverSmallerWithSameColorInSameColorZone
