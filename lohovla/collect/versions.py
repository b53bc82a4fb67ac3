"""The version of the environment that a data set was recorded with."""

from __future__ import annotations

import json
from pathlib import Path

from lohovla.data import layout
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError


def refuse_other_version(root: Path, remedy: str) -> None:
    """Refuse a data set whose episodes this environment does not give again; one without an origin passes.

    Args:
        root: the set's folder; it need not exist.
        remedy: what to do instead.

    Raises:
        UserError: it was recorded with another version of the environment.
    """
    path = root / layout.ORIGIN
    if not path.is_file():
        return
    made = json.loads(path.read_text(encoding="utf-8")).get("version", 0)  # the first version did not write it
    if made != VERSION:
        raise UserError(
            f"{root} was recorded with version {made} of the environment, and this is version {VERSION}, whose"
            " observations differ",
            remedy,
        )
