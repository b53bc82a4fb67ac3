"""Put the bigger or the smaller block of a colour somewhere."""

from __future__ import annotations

from lohovla.envs.language import block_phrase, place_phrase
from lohovla.envs.tasks.entities import BIG, SMALL
from lohovla.envs.tasks.grammar.meaning import Meaning, Noun, Place, who
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitiveWithSize(Task):
    """Each colour comes as a small and (mostly) a big block, so that the size must be heard."""

    name = "pick-and-place-primitive-with-size"
    split = Split.PRIMITIVE
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        n = layout.count(2, 3)
        colors = layout.pick_colors(n)
        bowls = [layout.bowl(color) for color in layout.pick_colors(layout.count(2, 3))]
        big = [layout.block(color, BIG) for color in colors[: layout.count(2, n)]]
        small = [layout.block(color, SMALL) for color in colors]
        pick, size = layout.choose([(big[0], "bigger"), (small[0], "smaller")])[0]
        rest = [block for block in big[1:] if pick in small or block != pick]
        target = layout.choose([*bowls, *rest])[0]
        there = layout.entities[target].color
        if target in bowls:
            place, where = place_phrase("bowl", color=there), Place("bowl", there)
        else:
            place = place_phrase("block", color=there, size="bigger")
            where = Place("block", str(Noun("block", there, "bigger")))
        meaning = Meaning("place", who(color=colors[0], size=size), where=where)
        return meaning, {"pick": block_phrase(colors[0], size), "place": place}


TASK = PickAndPlacePrimitiveWithSize
