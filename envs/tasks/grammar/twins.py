"""Goals that differ from another in one slot of their meaning: what tells two goals of one scene apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lohovla.envs.tasks.entities import Bowl, Scene
from lohovla.envs.tasks.grammar.meaning import CONDITIONS, RELATIONS, Condition, Meaning, Noun, Place, canonical

_ORDERS = {"bigger-first": "smaller-first", "smaller-first": "bigger-first"}
_RULES = ("same", "other", "any")


def twin_meanings(meaning: Meaning, scene: Scene, rng: np.random.Generator) -> Iterator[Meaning]:
    """Meanings that are ``meaning`` with one slot changed to something that the scene has, in random order.

    They may be impossible or done already in the scene, and of cells that are held out: whoever asks looks them over.
    """
    found = dict.fromkeys(canonical(twin) for twin in _changes(meaning, scene))
    twins = [twin for twin in found if twin != canonical(meaning)]
    for index in rng.permutation(len(twins)):
        yield twins[index]


def _changes(meaning: Meaning, scene: Scene) -> Iterator[Meaning]:
    if meaning.order in _ORDERS:
        yield replace(meaning, order=_ORDERS[meaning.order])
        yield replace(meaning, order="")
    if meaning.what in ("tower", "row"):
        yield from (replace(meaning, by=by) for by in ("", "color", "size", "area") if by != meaning.by)
        yield from (replace(meaning, order=order) for order in _ORDERS if not meaning.order)
    for condition in meaning.who:
        yield replace(meaning, who=meaning.who - {condition})
        for other in _other_conditions(condition, scene):
            yield replace(meaning, who=meaning.who - {condition} | {other})
    if not any(condition.kind == "size" for condition in meaning.who):
        yield from (replace(meaning, who=meaning.who | {Condition("size", size)}) for size in CONDITIONS["size"] or ())
    for place in _other_places(meaning.where, scene):
        yield replace(meaning, where=place)


def _other_conditions(condition: Condition, scene: Scene) -> list[Condition]:
    if condition.relation:
        relations = [Condition(f"{side}-of", condition.value) for side in RELATIONS if side != "near"]
        things = [Condition(condition.kind, str(noun)) for noun in _nouns(scene)]
        return [*relations, *things]
    values: Sequence[str] = CONDITIONS[condition.kind] or ()
    if condition.kind == "color":
        values = sorted({block.color for block in scene.blocks.values()})
    return [Condition(condition.kind, value) for value in values if value != condition.value]


def _other_places(place: Place, scene: Scene) -> list[Place]:
    kind = place.kind
    if kind in ("zone", "bowl"):
        colors = [noun.color for noun in _nouns(scene) if noun.kind == kind]
        values = _RULES if place.value in _RULES else tuple(dict.fromkeys(colors))
        return [Place(kind, value) for value in values]
    if kind == "area":
        return [Place(kind, value) for value in CONDITIONS["area"] or () if value != "center"]
    nouns = [noun for noun in _nouns(scene) if noun.kind == "block" or kind != "block"]
    if kind == "block":
        return [Place(kind, str(noun)) for noun in nouns]
    if kind in RELATIONS:
        return [*(Place(side, place.value) for side in RELATIONS), *(Place(kind, str(noun)) for noun in nouns)]
    return []


def _nouns(scene: Scene) -> list[Noun]:
    """The things of a scene that a colour and a kind name."""
    blocks = [block.color for block in scene.blocks.values()]
    found = [Noun("block", color) for color in sorted(blocks) if blocks.count(color) == 1]
    fixtures = [("bowl" if isinstance(thing, Bowl) else "zone", thing.color) for thing in scene.fixtures.values()]
    return [*found, *(Noun(kind, color) for kind, color in sorted(fixtures))]
