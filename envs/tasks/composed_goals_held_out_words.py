"""Goals composed by the grammar, in words that are never trained."""

from __future__ import annotations

from lohovla.envs.tasks.composed_goals import ComposedGoals


class ComposedGoalsHeldOutWords(ComposedGoals):
    """Goals of the cells that may be trained, each sentence with a phrase or more that is held out by rule."""

    name = "composed-goals-held-out-words"
    unseen_words = True


TASK = ComposedGoalsHeldOutWords
