"""The tasks by name; cheap to import, so that registering them costs nothing."""

from __future__ import annotations

from lohovla.envs.language import vocabulary

# In the order of the published table, then the additional ones.
TASKS: tuple[str, ...] = tuple(vocabulary()["goals"])


def gym_name(task: str) -> str:
    """A task's Gymnasium name, without the namespace.

    >>> gym_name("stack-blocks-of-same-color")
    'StackBlocksOfSameColor-v0'
    """
    return "".join(word.capitalize() for word in task.split("-")) + "-v0"
