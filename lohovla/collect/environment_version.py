"""The version of the environment that a data set was recorded with."""

from __future__ import annotations

from pathlib import Path

from lohovla.data import dataset_layout
from lohovla.data.dataset_files import read_dataset_json
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError


def refuse_other_version(root: Path, remedy: str) -> None:
    """Refuse a data set whose episodes this environment does not give again; one without an origin passes.

    Args:
        root: the set's folder; it need not exist.
        remedy: what to do instead.

    Raises:
        UserError: it was recorded with another version of the environment, or its origin cannot be read.
    """
    path = root / dataset_layout.ORIGIN
    if not path.is_file():
        return
    made = read_dataset_json(root, path).get("version", 0)  # the first version did not write it
    if made != VERSION:
        raise UserError(
            f"{root} was recorded with version {made} of the environment, and this is version {VERSION}, whose"
            " observations differ",
            remedy,
        )
