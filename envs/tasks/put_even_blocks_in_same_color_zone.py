"""Move all blocks of a color that occur in even numbers to the same colored zone."""

from __future__ import annotations

from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PutEvenBlocksInSameColorZone(Task):
    """Blocks are dealt to the colours in turn; at least one colour ends up with an even number."""

    name = "put-even-blocks-in-same-color-zone"
    split = Split.SEEN
    letter = "E"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        colors = layout.pick_colors(layout.count(2, 3))
        for color in colors:
            layout.zone(color, 0.15)
        n = len(colors)
        counts = [total // n + (i < total % n) for total in [self._total(layout, n)] for i in range(n)]
        for color, count in zip(colors, counts, strict=True):
            for _ in range(count):
                layout.block(color)
        return Meaning("place", who(count="even"), where=Place("zone", "same")), {}

    @staticmethod
    def _total(layout: SceneSampler, n_colors: int) -> int:
        """How many blocks in all; redrawn while every colour would get an odd number."""
        while True:
            total = layout.count(n_colors + 1, min(4 * n_colors, 10) - 1)
            if total % n_colors or (total // n_colors) % 2 == 0:
                return total


TASK = PutEvenBlocksInSameColorZone
