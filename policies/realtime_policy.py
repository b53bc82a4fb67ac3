"""What the real-time loop asks of a policy beside ``act``: planning apart from acting, and chunks that join.

Any ``Policy`` runs in the loop (:func:`as_realtime_policy`). One that also has the methods of
:class:`RealtimePolicy` is planned with and acted with at different rates; one whose chunks continue a given
beginning says so in ``spec.prefix`` and may be joined by ``rtc-trained``; a :class:`Denoiser` may be joined
by ``rtc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lohovla.policies.base import Context, Decision, Policy, PolicySpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SubtaskPlan:
    """A sub-task, from the moment it is planned until it is done or given up.

    Attributes:
        subtask: it in words, or "".
        subgoal: the picture that it should lead to, uint8 (h, w, 3), or None.
        memory: what the policy wants back with every chunk of this sub-task; it can be pickled.
        timing: where the time went, milliseconds by stage.
        over: whether it says that the run is over, as :class:`~lohovla.policies.base.Decision` has it.
        way: m that the tool has to go for it, in the same way.
    """

    subtask: str = ""
    subgoal: np.ndarray | None = None
    memory: Any = None
    timing: Mapping[str, float] | None = None
    over: str = ""
    way: float = 0.0


@runtime_checkable
class RealtimePolicy(Protocol):
    """A policy that plans and acts apart. It is used by one thread at a time, in a process of its own or not."""

    spec: PolicySpec

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode in ``slot``."""
        ...

    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        """The next sub-task; may take hundreds of milliseconds."""
        ...

    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The next actions of a sub-task.

        Action i of the chunk is the target of the i-th period after the observation was taken.

        Args:
            observation: the flat mapping of the environment, the wire and the data sets.
            context: what the loop knows beside it.
            plan: what :meth:`plan` gave, perhaps for an earlier observation.
            prefix: what remains of the chunk before, float32 (n, A) with n <= H: ``prefix[i]`` belongs to the
                same period as action i of the new chunk. In the units and frame of the policy's own actions
                (relative ones are already re-anchored to this observation). None where nothing goes before.
            inference_delay: how many actions of ``prefix`` will have been carried out when this chunk arrives. A policy
                with ``spec.prefix`` gives them back as they are and continues from them.
        """
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A flow-matching action model whose velocity field the loop may guide (``rtc``).

    The convention is the project's: ``x_t = (1 - t) data + t noise``, so that t=1 is noise, t=0 is data, and
    the velocity is ``noise - data``.
    """

    spec: PolicySpec
    flow_steps: int  # Euler steps from noise to data

    def encode(self, observation: Mapping[str, Any], context: Context, plan: SubtaskPlan) -> Any:
        """Whatever :meth:`velocity` needs of the observation and the plan, computed once a chunk."""
        ...

    def velocity(self, x: torch.Tensor, t: float, encoding: Any) -> torch.Tensor:
        """The field at ``x`` (H, D) and time ``t`` in (0, 1]; differentiable in ``x``, shape (H, D)."""
        ...

    def normalize(self, actions: np.ndarray, encoding: Any) -> torch.Tensor:
        """Actions (n, A) in the model's own space (n, D), float32 on the model's device."""
        ...

    def finish(self, x: torch.Tensor, encoding: Any) -> Decision:
        """The decision of a denoised ``x`` (H, D): its actions (H, A), the progress."""
        ...


class _ActsOnly:
    """Any policy as a :class:`RealtimePolicy`: it plans whenever it likes, and says so in its decisions."""

    def __init__(self, policy: Policy):
        self.spec = policy.spec
        self._policy = policy

    def reset(self, seed: int, slot: int = 0) -> None:
        self._policy.reset(seed, slot)

    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        return SubtaskPlan()

    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        return self._policy.act(observation, context)


def as_realtime_policy(policy: Any) -> RealtimePolicy:
    """The policy itself if it is a :class:`RealtimePolicy`, else ``act`` in place of ``chunk``."""
    return policy if isinstance(policy, RealtimePolicy) else _ActsOnly(policy)
