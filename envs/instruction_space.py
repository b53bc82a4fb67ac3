"""The space of instructions: Gymnasium's ``Text``, but whole when it comes through shared memory."""

from __future__ import annotations

import multiprocessing
import string
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

LONGEST = 160  # characters


class InstructionSpace(gym.spaces.Text):
    """Sentences of at most :data:`LONGEST` characters.

    Gymnasium's ``AsyncVectorEnv`` reads its shared memory once, when it is made, into views that change with what the
    processes write; of a ``Text`` it keeps the strings of that moment ("aaaa..."). Of this space the memory holds
    characters as NumPy does, and what is read is a view of them: an array (n,) of strings.
    """

    def __init__(self) -> None:
        super().__init__(LONGEST, charset=string.ascii_letters + string.digits + " .,-?!:;'()")

    def view(self, memory: Any) -> np.ndarray:
        """The sentences in shared memory, an array (n,) of strings that may be written to."""
        return np.frombuffer(memory.get_obj(), dtype=f"U{self.max_length}")


@create_shared_memory.register(InstructionSpace)
def _create(space: InstructionSpace, n: int = 1, ctx: ModuleType = multiprocessing) -> Any:
    return ctx.Array("i", n * space.max_length)  # 4 bytes a character, as in NumPy's strings


@read_from_shared_memory.register(InstructionSpace)
def _read(space: InstructionSpace, shared_memory: Any, n: int = 1) -> np.ndarray:
    return space.view(shared_memory)


@write_to_shared_memory.register(InstructionSpace)
def _write(space: InstructionSpace, index: int, value: str, shared_memory: Any) -> None:
    if len(value) > space.max_length:  # NumPy would cut it without a word
        raise ValueError(f"an instruction of {len(value)} characters, where {space.max_length} fit: {value}")
    space.view(shared_memory)[index] = value
