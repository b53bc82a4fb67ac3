"""Put a block beside another."""

from __future__ import annotations

from lohovla.envs.language import block_phrase, place_phrase, vocabulary
from lohovla.envs.tasks.grammar.meaning import Meaning, Noun, Place, who
from lohovla.envs.tasks.put_one import beside, draw_clutter
from lohovla.envs.tasks.registry import Split, Task
from lohovla.envs.tasks.scene_sampler import SceneSampler


class PickAndPlacePrimitiveWithRelativePosition(Task):
    """Left, right, top or bottom of a block, 0.16 m from it; the place is kept clear."""

    name = "pick-and-place-primitive-with-relative-position"
    split = Split.PRIMITIVE
    palette = "all"

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        relation = layout.choose(vocabulary()["relations"])[0]
        pick_color, reference_color = layout.pick_colors(2)
        reference = layout.block(reference_color, within=lambda x, y: layout.on_table(*beside(x, y, relation), 0.06))
        pose = layout.poses[reference]
        layout.keep_clear(*beside(pose.x, pose.y, relation), 0.06)
        layout.block(pick_color)
        draw_clutter(layout, layout.count(0, 1), layout.count(2, 3), layout.count(1, 2), (pick_color, reference_color))
        words = place_phrase("relation", relation=relation, color=reference_color)
        where = Place(relation, str(Noun("block", reference_color)))
        return Meaning("place", who(color=pick_color), where=where), {"pick": block_phrase(pick_color), "place": words}


TASK = PickAndPlacePrimitiveWithRelativePosition
