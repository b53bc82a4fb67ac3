"""The tasks by name; cheap to import, so that registering them costs nothing."""

from __future__ import annotations

from lohovla.envs.language import vocabulary

# In the order of the published table, then the additional ones.
TASKS: tuple[str, ...] = tuple(vocabulary()["goals"])

# Goals of the grammar (lohovla.envs.tasks.grammar), each a family of problems: those that may be trained on, what is
# held out of them, and goals that ask for nothing to be done.
COMPOSED: tuple[str, ...] = (
    "composed-goals",
    "composed-goals-held-out-cells",
    "composed-goals-held-out-words",
    "handwritten-goals",
    "impossible-goals",
    "reached-goals",
)

# Of the environments: a higher one gives other observations or motions from the same seed and actions.
# 0: positions of joints and blocks in motion were of one moment, poses and pictures of 5 ms before.
# 1: everything is of one moment, and the tool's pose follows from the joints, whatever the cup's spring does.
VERSION = 1


def gym_name(task: str, version: int = VERSION) -> str:
    """A task's Gymnasium name, without the namespace.

    >>> gym_name("stack-blocks-of-same-color")
    'StackBlocksOfSameColor-v1'
    """
    return "".join(word.capitalize() for word in task.split("-")) + f"-v{version}"
