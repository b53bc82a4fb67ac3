"""In which numbers a robot's actions are learned: as they are, or relative to the state that is seen.

An action relative to the state says where to go from here, whatever the place (delta actions in openpi, relative
actions in lerobot). A rotation vector jumps at half a turn; the first two columns of its matrix do not (Zhou et al.,
1812.07035).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from lohovla.errors import UserError

_COLUMNS = 6  # numbers of a rotation's first two columns


class ActionRepresentation:
    """A map between a robot's actions (..., A) and the numbers that are learned (..., M).

    Args:
        action_names: of an action's numbers.
        state_names: of the state's numbers.
        relative: the state's number that each of these numbers of an action is learned relative to.
        rotations: triples of an action's numbers that are rotation vectors (rad), learned as six numbers each. Where
            all three are relative, so is the rotation: it is learned in the frame that the state's has turned to.

    Attributes:
        relative: as given.
        rotations: as given.
        changes_nothing: actions are learned as they are.
        names: of the numbers that are learned.

    Raises:
        UserError: a name is not there, or a rotation is relative in part.
    """

    def __init__(
        self,
        action_names: Sequence[str],
        state_names: Sequence[str],
        relative: Mapping[str, str] | None = None,
        rotations: Sequence[Sequence[str]] = (),
    ):
        self.relative, self.rotations = dict(relative or {}), [list(triple) for triple in rotations]
        relative, rotations = self.relative, self.rotations
        for name, state in relative.items():
            _find(name, action_names, "action", "relative_actions")
            _find(state, state_names, "state", "relative_actions")
        turned = [name for triple in rotations for name in triple]
        for triple in rotations:
            if len(triple) != 3 or len(set(turned)) != len(turned):
                raise UserError(
                    f"rotation_actions has {list(triple)}", "each is three numbers of the action, each in one of them"
                )
            for name in triple:
                _find(name, action_names, "action", "rotation_actions")
            if 0 < sum(name in relative for name in triple) < 3:
                raise UserError(
                    f"the rotation {', '.join(triple)} is relative in part",
                    "name all three in relative_actions, or none",
                )
        plain = [name for name in action_names if name not in turned]
        self._plain = [list(action_names).index(name) for name in plain]
        based = [at for at, name in enumerate(plain) if name in relative]
        self._based = based
        self._base = [list(state_names).index(relative[plain[at]]) for at in based]
        self._turns = [[list(action_names).index(name) for name in triple] for triple in rotations]
        self._frames = [
            [list(state_names).index(relative[name]) for name in triple] if triple[0] in relative else None
            for triple in rotations
        ]
        columns = [f"{'+'.join(triple)}.{number}" for triple in rotations for number in range(_COLUMNS)]
        self.names = [*plain, *columns]
        self.changes_nothing = not relative and not rotations
        self._count = len(action_names)

    def encode(self, action: np.ndarray, state: np.ndarray) -> np.ndarray:
        """What is learned (..., M) of actions (..., A) beside a state of the same leading axes, or ones of 1."""
        if self.changes_nothing:
            return action
        learned = np.empty((*action.shape[:-1], len(self.names)), np.float32)
        plain = learned[..., : len(self._plain)]
        plain[:] = action[..., self._plain]
        plain[..., self._based] -= state[..., self._base]
        for number, (turn, frame) in enumerate(zip(self._turns, self._frames, strict=True)):
            matrices = _matrices(action[..., turn])
            if frame is not None:
                matrices = np.swapaxes(_matrices(state[..., frame]), -1, -2) @ matrices
            columns = np.swapaxes(matrices[..., :2], -1, -2)
            learned[..., self._slice(number)] = columns.reshape(*action.shape[:-1], _COLUMNS)
        return learned

    def decode(self, learned: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The actions (..., A) of what was learned (..., M), which need not be exact rotations."""
        if self.changes_nothing:
            return learned
        action = np.empty((*learned.shape[:-1], self._count), np.float32)
        plain = learned[..., : len(self._plain)].copy()
        plain[..., self._based] += state[..., self._base]
        action[..., self._plain] = plain
        for number, (turn, frame) in enumerate(zip(self._turns, self._frames, strict=True)):
            matrices = _orthonormal(learned[..., self._slice(number)])
            if frame is not None:
                matrices = _matrices(state[..., frame]) @ matrices
            vectors = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec()
            action[..., turn] = vectors.reshape(*learned.shape[:-1], 3)
        return action

    def _slice(self, number: int) -> slice:
        begin = len(self._plain) + number * _COLUMNS
        return slice(begin, begin + _COLUMNS)


def relative_numbers(
    setting: str | Sequence[str] | Mapping[str, str] | None,
    action_names: Sequence[str],
    state_names: Sequence[str],
    grippers: Sequence[int],
) -> dict[str, str]:
    """What the setting ``relative_actions`` means for a data set: the state's number of each of an action's.

    Args:
        setting: ``all`` for every number that the state has by the same name (``x`` or ``ee.x``), but grippers; names
            that both have; or the state's name of each by the action's.
        action_names: of an action's numbers.
        state_names: of the state's numbers.
        grippers: which of an action's numbers command a gripper.

    Raises:
        UserError: ``all`` finds none.
    """
    if setting is None:
        return {}
    if isinstance(setting, Mapping):
        return dict(setting)
    if setting != "all":
        return {name: name for name in ([setting] if isinstance(setting, str) else setting)}
    found = {}
    for at, name in enumerate(action_names):
        like = [state for state in state_names if name in (state, state.rpartition(".")[2])]
        if len(like) == 1 and at not in grippers:
            found[name] = like[0]
    if not found:
        raise UserError(
            f"relative_actions=all finds no number of the state that is called like one of the action: "
            f"{', '.join(action_names)} and {', '.join(state_names) or 'no state'}",
            "name the pairs: 'relative_actions={action_0: state_0, ...}'",
        )
    return found


def _find(name: str, names: Sequence[str], kind: str, setting: str) -> None:
    if name not in names:
        raise UserError(
            f"{setting} names {name!r}, which the {kind} has not", f"it has {', '.join(names) or 'nothing'}"
        )


def _matrices(rotvec: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) of rotation vectors (..., 3)."""
    return Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(*rotvec.shape[:-1], 3, 3)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of two columns each (..., 6), by Gram and Schmidt."""
    first, second = columns[..., :3].astype(np.float64), columns[..., 3:].astype(np.float64)
    first = first / np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-8)
    second = second - (first * second).sum(-1, keepdims=True) * first
    second = second / np.maximum(np.linalg.norm(second, axis=-1, keepdims=True), 1e-8)
    return np.stack([first, second, np.cross(first, second)], -1)
