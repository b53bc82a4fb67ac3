"""Finding a data set: a folder, or a name on the Hugging Face hub, from which it is fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lohovla.data import dataset_layout
from lohovla.errors import UserError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class DatasetChoice:
    """A data set to train on.

    Attributes:
        path: its folder, or its name on the hub, ``user/name``, where there is no such folder.
        weight: its share of the samples, relative to those of the others.
        episodes: only these; all if None.
        revision: branch, tag or commit on the hub.
    """

    path: str
    weight: float = 1.0
    episodes: Sequence[int] | None = None
    revision: str | None = None


def dataset_choices(
    dataset: str | Sequence[str], weights: Sequence[float] | None, episodes: Sequence[int] | None
) -> list[DatasetChoice]:
    """The data sets of a configuration.

    Raises:
        UserError: there is none, or weights do not go with them.
    """
    paths = [dataset] if isinstance(dataset, str) else list(dataset)
    if not paths:
        raise UserError("dataset is an empty list", "name a folder, or OWNER/NAME on the hub")
    if weights is not None and len(weights) != len(paths):
        raise UserError(f"{len(weights)} dataset_weights for {len(paths)} data sets", "give one for each")
    if episodes is not None and len(paths) > 1:
        raise UserError("episodes are of one data set, and several are given", "leave them out")
    own = [1.0] * len(paths) if weights is None else list(weights)
    chosen = list(episodes) if episodes is not None else None
    return [DatasetChoice(str(path), weight, chosen) for path, weight in zip(paths, own, strict=True)]


def find_dataset(choice: DatasetChoice) -> tuple[Path, bool]:
    """The folder that holds a data set, and whether it is a name on the hub, of which only ``meta`` is fetched.

    Raises:
        UserError: there is no such folder or data set, or no network.
    """
    root = Path(choice.path).expanduser()
    if (root / dataset_layout.INFO).exists():
        return root, False
    if root.exists():
        raise UserError(f"{root} is not a data set: it has no {dataset_layout.INFO}", "`lohovla collect` makes one")
    if not _HUB_NAME.fullmatch(choice.path):
        raise UserError(f"there is no folder {choice.path}", "dataset=FOLDER, or dataset=USER/NAME on the hub")
    return fetch(choice, ["meta/**"]), True


def fetch(choice: DatasetChoice, files: Sequence[str]) -> Path:
    """Fetch files of a data set from the hub, those that are not here yet.

    Args:
        choice: a name on the hub.
        files: paths in the data set, or patterns of them.

    Returns:
        The folder that holds them.

    Raises:
        UserError: there is no such data set, or no network.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise UserError(
            f"there is no folder {choice.path}, and fetching from the hub needs huggingface_hub",
            "pip install huggingface_hub",
        ) from None
    try:
        return Path(
            snapshot_download(choice.path, repo_type="dataset", revision=choice.revision, allow_patterns=list(files))
        )
    except GatedRepoError:
        cause, remedy = "asks for access on the hub", "ask for it there, then `hf auth login`"
    except RevisionNotFoundError:
        cause, remedy = f"has no revision {choice.revision!r} on the hub", "leave out the revision, or name another"
    except RepositoryNotFoundError:
        cause, remedy = (
            "is neither a folder nor a data set on the hub",
            "check the name; `hf auth login` for a private one",
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        cause = f"is no folder here, and the hub cannot be reached: {said:.120}"
        remedy = "check the path, or the network; on a machine without one, name the folder of a copy"
    raise UserError(f"{choice.path} {cause}", remedy)
