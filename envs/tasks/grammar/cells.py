"""The cells of the grammar: goals without their colours, areas and things; which are trained, and which never are.

A cell says what a goal is made of: ``tower|size|by color|bigger-first|zone:same``. A fixed share of the cells is held
out, chosen by a hash of the cell's name, so that the list never depends on a seed or on who drew it. Tasks F-K of the
published table are held out too, by their meaning and not by their words.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.meaning import (
    CONDITIONS,
    RELATIONS,
    Condition,
    Meaning,
    Noun,
    Place,
    canonical,
    parse_meaning,
)
from lohovla.envs.tasks.grammar.resolve import end_states, goal_of
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal

HELD_OUT_SHARE = 0.15  # of the cells that no published training task has
SIDES = tuple(vocabulary()["relations"])
_AREAS = tuple(area for area in CONDITIONS["area"] if area != "center")  # the centre holds one block

# The published tasks as meanings: those that are trained, and F-K, which never are. Colours and areas stand for all.
PUBLISHED_TRAINED = (
    "what=place who=color:red where=bowl:blue",
    "what=place who=color:red where=zone:blue",
    "what=place who=color:red where=block:block-blue",
    "what=place who=color:red+size:bigger where=bowl:blue",
    "what=place who=color:red+size:bigger where=block:block-bigger-blue",
    "what=place who=color:red where=area:top-left",
    "what=place who=all where=bowl:same",
    "what=tower who=all by=color order=bigger-first",
    "what=tower who=area:top-left",
    "what=place who=count:even where=zone:same",
    "what=each who=all where=zone:other",
    "what=place who=cover:covered+in:two-layer-towers where=bowl:same",
    "what=each who=cover:covered+in:two-layer-towers where=bowl:other",
    "what=place who=cover:covered+in:three-layer-towers where=bowl:same",
    "what=place who=in:pyramid+layer:bottom where=bowl:same",
    "what=tower who=all by=color order=smaller-first where=zone:same",
    "what=tower who=all where=zone:red",
    "what=tower who=left-of:block-red where=zone:blue",
    "what=place who=area:top-left+size:bigger where=area:top-right",
    "what=place who=area:top-left+category:warm where=area:top-right",
)
PUBLISHED_UNSEEN = {
    "F": "what=each who=all where=bowl:other",
    "G": "what=tower who=all by=size",
    "H": "what=tower who=all order=alternating",
    "I": "what=tower who=all by=color order=bigger-first where=zone:same",
    "J": "what=place who=area:top-left where=area:top-right",
    "K": "what=tower who=all by=color",
}

# Which conditions go together, by kind; ``side`` is left-of and so on, ``parity`` and ``number`` are counts.
_PLAIN = ("", "color", "size", "category", "area", "side", "cover")
_PAIRS = (
    "color+size",
    "area+color",
    "area+size",
    "area+category",
    "category+size",
    "side+size",
    "category+side",
    "cover+size",
    "area+cover",
)
_COUNTS = ("number", "parity")
_HIDDEN = ("cover+in", "in", "in+layer")


def cell_of(meaning: Meaning) -> str:
    """The cell of a goal.

    >>> cell_of(parse_meaning("what=tower who=color:red+size:bigger where=left:block-blue"))
    'tower|color+size|||side'
    """
    meaning = canonical(meaning)
    kinds = "+".join(sorted({_kind(condition) for condition in meaning.who}))
    place, value = meaning.where.kind, meaning.where.value
    where = f"{place}:{value}" if value in ("same", "other", "any") else place
    if place == "area" and meaning.what == "tower" and value == meaning.said("area"):
        where = "here"
    by = f"by {meaning.by}" if meaning.by else ""
    return "|".join([meaning.what, kinds, by, meaning.order, "side" if where in SIDES else where])


def _kind(condition: Condition) -> str:
    if condition.kind == "count":
        return "parity" if condition.value in ("even", "odd") else "number"
    return "side" if condition.relation else condition.kind


@functools.cache
def all_cells() -> tuple[str, ...]:
    """Every cell, sorted."""
    found = set()
    for kinds in (*_PLAIN, *_PAIRS, *_COUNTS):
        found |= {f"tower|{kinds}|{by}|{order}|{where}" for by, order, where in _towers(kinds.split("+"))}
        found |= {f"place|{kinds}|||{where}" for where in _places(kinds)}
        found |= {f"row|{kinds}|{by}|{order}|here" for by, order in _rows(kinds.split("+"))}
        found |= {f"each|{kinds}|||{kind}:{which}" for kind in ("bowl", "zone") for which in ("other", "any")}
    for kinds in _HIDDEN:
        found |= {f"place|{kinds}|||{where}" for where in ("bowl:same", "zone", "area")}
        found |= {f"each|{kinds}|||bowl:{which}" for which in ("other", "any")}
    found |= {f"uncover|{kinds}|||here" for kinds in ("", "color", "size", "category", "area", "color+size")}
    return tuple(sorted(found))


def _towers(kinds: Sequence[str]) -> list[tuple[str, str, str]]:
    """Groups, orders and places of towers of blocks that conditions of these kinds choose."""
    sizes = [] if "size" in kinds else ["bigger-first", "smaller-first"]
    found = list(itertools.product([""], ["", *sizes, *_alternating(kinds)], ["here", "zone", "area", "near", "side"]))
    if "color" not in kinds:
        found += itertools.product(["by color"], ["", *sizes], ["here", "zone:same", "area"])
    if "size" not in kinds:
        found += itertools.product(["by size"], [""], ["here", "area"])
    if not {"area", "side"} & set(kinds):
        found += itertools.product(["by area"], ["", *sizes], ["here"])
    return found


def _alternating(kinds: Sequence[str]) -> list[str]:
    """Two colours take turns, where the conditions leave two, as many of the one as of the other or one more."""
    return [] if {"color", "cover", "number", "parity"} & set(kinds) else ["alternating"]


def _rows(kinds: Sequence[str]) -> list[tuple[str, str]]:
    sizes = [] if "size" in kinds else ["bigger-first", "smaller-first"]
    groups = [by for by, kind in (("by color", "color"), ("by size", "size")) if kind not in kinds]
    return [*itertools.product([""], ["", *sizes, *_alternating(kinds)]), *((by, "") for by in groups)]


def _places(kinds: str) -> list[str]:
    colors = [] if "color" in kinds else ["bowl:same", "zone:same"]
    found = ["zone", "zone:other", "zone:any", "area", "near", "side", "block", *colors]
    return [*found, "bowl"] if "color" in kinds else found


def held_out(cell: str) -> bool:
    """Whether a cell is never trained: one of the share that is held out by rule, or one of F-K."""
    if cell in _cells_of(tuple(PUBLISHED_UNSEEN.values())):
        return True
    if cell in _cells_of(PUBLISHED_TRAINED):
        return False
    return int(hashlib.sha256(cell.encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT_SHARE


@functools.cache
def _cells_of(notations: tuple[str, ...]) -> frozenset[str]:
    return frozenset(cell_of(parse_meaning(text)) for text in notations)


def is_published_unseen(cell: str) -> bool:
    """Whether a cell is that of one of tasks F-K."""
    return cell in _cells_of(tuple(PUBLISHED_UNSEEN.values()))


def reaches_unseen(goal: Goal, scene: Scene) -> bool:
    """Whether a goal is, in its scene, one of F-K: the same states reach it, however it was said."""
    wanted = end_states(goal)
    target = getattr(goal, "area", None)
    notations = [text for letter, text in PUBLISHED_UNSEEN.items() if letter != "J"]
    notations += [f"what=place who=area:{area} where=area:{target.key}" for area in _AREAS if target]
    for text in notations:
        try:
            if end_states(goal_of(parse_meaning(text), scene)) == wanted:
                return True
        except ImpossibleGoal:
            continue
    return False


def draw_meaning(cell: str, rng: np.random.Generator, palette: tuple[str, ...]) -> Meaning:
    """A goal of a cell, its colours, areas and things drawn."""
    what, kinds, by, order, where = cell.split("|")
    colors = [palette[i] for i in rng.permutation(len(palette))]
    conditions: set[Condition] = set()
    areas = [_AREAS[i] for i in rng.permutation(len(_AREAS))]
    thing = _noun(rng, colors.pop())
    for kind in filter(None, kinds.split("+")):
        if kind == "side":
            conditions.add(Condition(f"{rng.choice(SIDES)}-of", str(thing)))
        elif kind == "color":
            conditions.add(Condition("color", colors.pop()))
        elif kind == "area":
            conditions.add(Condition("area", areas.pop()))
        elif kind in ("parity", "number"):
            conditions.add(Condition("count", str(rng.choice(["even", "odd"] if kind == "parity" else ["2", "3"]))))
        elif kind == "cover":
            covered = kinds == "cover+in" or rng.random() < 0.5
            conditions.add(Condition("cover", "covered" if covered else "free"))
        else:
            values = [v for v in CONDITIONS[kind] or () if kind != "category" or _both_in(v, palette)]
            conditions.add(Condition(kind, str(rng.choice(values))))
    place, _, which = where.partition(":")
    if which:
        at = Place(place, which)
    elif place in ("zone", "bowl"):
        at = Place(place, colors.pop())
    elif place == "area":
        at = Place("area", areas.pop())
    elif place in ("near", "side"):
        other = thing if not any(c.relation for c in conditions) else _noun(rng, colors.pop())
        at = Place(str(rng.choice(SIDES)) if place == "side" else "near", str(other))
    elif place == "block":
        at = Place("block", str(Noun("block", colors.pop())))
    else:
        at = Place()
    return canonical(Meaning(what, frozenset(conditions), by.removeprefix("by "), order, at))


def _noun(rng: np.random.Generator, color: str) -> Noun:
    return Noun(str(rng.choice(["block", "bowl", "zone"])), color)


def _both_in(category: str, palette: tuple[str, ...]) -> bool:
    """Whether a palette has two colours of a category, and one that is not of it."""
    members = set(vocabulary()["color_categories"][category]) & set(palette)
    return len(members) >= 2 and bool(set(palette) - members)


assert set(SIDES) < set(RELATIONS)
