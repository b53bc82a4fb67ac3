"""Where the stage ``imitation`` gets its batches: data sets of demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lohovla.data.training_set import TrainingSet

if TYPE_CHECKING:
    from lohovla.train.training_stages import Stage


@dataclass(frozen=True)
class DatasetBatches:
    """Batches of a training set, the next ones made ready while a step runs.

    Attributes:
        training_set: the demonstrations.
        seed: of their order.
        about: settings by the names that people type, for a run that goes on with others.
    """

    training_set: TrainingSet
    seed: int
    about: Mapping[str, Any]

    def batches(self, stage: Stage, start: int, rank: int, world: int) -> Iterator[dict[str, Any]]:
        """Endless batches; ``start`` is the number of the first one."""
        return self.training_set.prefetched(start, stage.batch, rank, world)

    def settings(self) -> dict[str, Any]:
        """What batches are drawn from, by the names that people type."""
        return dict(self.about)
