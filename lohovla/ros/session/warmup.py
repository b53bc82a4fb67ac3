"""The model's first answers take seconds: it is asked before the arm may move, and what it says is thrown away."""

from __future__ import annotations

from typing import Any

from lohovla.control.inference.inference_messages import InferenceRequest
from lohovla.control.inference.inference_worker import InferenceWorker
from lohovla.control.settings import LoopSettings
from lohovla.policies.base import Context, PolicySpec

_KINDS = ("reset", "plan", "chunk")


class WarmUp:
    """Has the model plan and act once, beside whoever waits. A model that fails here is the loop's to restart.

    Args:
        worker: who runs it.
        spec: of the policy.
        settings: of the loop.
    """

    def __init__(self, worker: InferenceWorker, spec: PolicySpec, settings: LoopSettings):
        self._worker, self._spec, self._settings = worker, spec, settings
        self._left: list[str] = list(_KINDS)
        self._asked: float | None = None

    @property
    def done(self) -> bool:
        """Whether time may count from now on."""
        return not self._left

    def step(self, now: float, robot: Any) -> None:
        """Ask the next question if the last is answered; never waits.

        Args:
            now: s on the loop's clock.
            robot: a :class:`~lohovla.ros.session.ros_robot.RosRobot`, whose state and pictures are there.
        """
        if self.done:
            return
        if self._asked is not None:
            late = now - self._asked > self._settings.safety.plan_timeout
            if self._worker.state == "busy" and not late:
                return
            self._worker.poll(now)
            self._asked = None
            self._left = [] if late or self._worker.state == "dead" else self._left[1:]
        elif self._worker.state == "dead":
            self._left = []
        if self._left and self._worker.state == "idle":
            self._ask(now, self._left[0], robot)

    def _ask(self, now: float, kind: str, robot: Any) -> None:
        sample = robot.observe(now, "world" in self._spec.observation_keys)
        keys = {*self._spec.observation_keys, "state", "instruction"}
        seen = {key: value for key, value in sample.observation.items() if key in keys}
        guided = kind == "chunk" and self._settings.chunking_mode == "rtc"
        number = self._left.index(kind) - len(_KINDS)  # below zero: no answer to the loop
        self._worker.submit(
            InferenceRequest(number, kind, 0, now, 0, seen, Context(world=sample.world), rtc_guided=guided), now
        )
        self._asked = now
