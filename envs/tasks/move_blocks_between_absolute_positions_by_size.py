"""Move all the blocks of one size from one area to another."""

from __future__ import annotations

from lohovla.envs.tasks.entities import BIG, QUADRANTS, SMALL, Area
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class MoveBlocksBetweenAbsolutePositionsBySize(Task):
    """Three to five blocks of the size in the source area, and one or two of the other; up to four elsewhere.

    Those elsewhere have other colours, so that a sub-task's words fit only blocks that move.
    """

    name = "move-blocks-between-absolute-positions-by-size"
    split = Split.ADDITIONAL
    spare = 7

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        source, target = (Area(name) for name in layout.choose(QUADRANTS, 2))
        size = layout.choose(("smaller", "bigger"))[0]
        wanted, other = (SMALL, BIG) if size == "smaller" else (BIG, SMALL)
        colors = layout.pick_colors(layout.count(3, 5))
        for color in colors:
            layout.block(color, wanted, within=source.contains)
        for color in layout.pick_colors(layout.count(1, 2)):
            layout.block(color, other, within=source.contains)
        for color in layout.other_colors(colors)[: layout.count(0, 4)]:
            edge = layout.choose((SMALL, BIG))[0]
            layout.block(color, edge, within=lambda x, y: not source.contains(x, y))
        meaning = Meaning("place", who(size=size, area=source.key), where=Place("area", target.key))
        return meaning, {"size": size, "source": source.name, "target": target.name}


TASK = MoveBlocksBetweenAbsolutePositionsBySize
