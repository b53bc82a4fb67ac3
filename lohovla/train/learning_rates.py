"""The learning rate of every step, also where a training goes on with another number of steps, or another rate.

A schedule says the rate of a run from its start. Where a run is resumed with other settings, the rate that stands and
the rate that the new schedule has at that step may be far apart. Then it goes from one to the other by equal factors
a step, within a twentieth of the steps that are left or as many as it takes to change by no more than a half in a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_SHARE = 0.05  # of the steps that are left, in which the rate comes to the new schedule's
_LEAP = 1.5  # largest factor between two steps


@dataclass(frozen=True)
class LearningRates:
    """The rates of a run.

    Attributes:
        steps: of the run.
        highest: rate of the schedule.
        schedule: the share of the highest rate at a step, given it and the number of steps.
        turn: the step that the run was resumed at with other settings, and the rate of the step before, if it was.
        join: in how many steps from there it comes to the schedule's.
    """

    steps: int
    highest: float
    schedule: Callable[[int, int], float]
    turn: tuple[int, float] | None = None
    join: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.turn is None:
            return
        step, _ = self.turn
        left = max(1, self.steps - step)
        join = max(1, round(_SHARE * left))
        while join < left and not 1 / _LEAP <= self._factor(join) <= _LEAP:
            join += 1
        object.__setattr__(self, "join", join)

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if self.turn is not None and step < self.turn[0] + self.join:
            factor = min(max(self._factor(self.join), 1 / _LEAP), _LEAP)
            return self.turn[1] * factor ** (step + 1 - self.turn[0])
        return self.highest * self.schedule(step, self.steps)

    def _factor(self, join: int) -> float:
        """By which the rate changes each step, to be the schedule's after ``join`` of them."""
        step, rate = self.turn or (0, self.highest)
        return (self.highest * self.schedule(step + join - 1, self.steps) / rate) ** (1 / join)

    def changed(self, done: int, steps: int, highest: float) -> LearningRates:
        """The rates of the same run after ``done`` steps, with another number of steps or another highest rate."""
        if (steps, highest) == (self.steps, self.highest):
            return self
        turn = (done, self(done - 1)) if done else None
        return LearningRates(steps, highest, self.schedule, turn)

    def description(self, done: int) -> str:
        """What the rate does from step ``done`` on, in words."""
        now, then, end = self(max(0, done - 1)), self(min(done + self.join, self.steps) - 1), self(self.steps - 1)
        if self.turn is None or self.turn[0] != done:
            return f"the learning rate goes on from {now:.2g} and ends at {end:.2g}"
        way = "rises" if then > now else "falls"
        return f"the learning rate {way} from {now:.2g} to {then:.2g} within {self.join} steps, and ends at {end:.2g}"

    def as_facts(self) -> dict[str, Any]:
        """What is kept with a state, in JSON."""
        return {"steps": self.steps, "lr": self.highest, "turn": self.turn}

    @classmethod
    def from_facts(
        cls, facts: Mapping[str, Any], highest: float, schedule: Callable[[int, int], float]
    ) -> LearningRates:
        """The rates that a state was made with; one of an older version does not tell its ``highest``."""
        turn = facts.get("turn")
        return cls(int(facts["steps"]), facts.get("lr", highest), schedule, tuple(turn) if turn else None)
