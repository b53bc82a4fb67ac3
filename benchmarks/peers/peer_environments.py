"""Virtual environments of the peers: made from the package index at pinned versions, and kept between runs.

Peers need versions of torch, transformers or MuJoCo of their own, so that none of them is installed beside this
project. ``python.NAME=PATH`` names an interpreter that has a peer already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lohovla.errors import UserError

# lerobot's extras bring its data loader and its policies; MetaWorld 3.1.1 needs MuJoCo 3.3.0 and misses `packaging`;
# robosuite 1.5.2 does not know MuJoCo 4's joint types.
PEERS: dict[str, tuple[str, ...]] = {
    "lerobot": ("lerobot[dataset,training,diffusion]==0.6.1",),
    "metaworld": ("metaworld==3.1.1", "mujoco==3.3.0", "packaging"),
    "robosuite": ("robosuite==1.5.2", "mujoco==3.3.0"),
    "roslibpy": ("roslibpy==2.1.0", "numpy", "pillow"),
    "openpi": ("openpi-client==0.1.2", "typing_extensions", "websockets==15.0.1"),
}
_NEEDS = {"lerobot": (3, 12)}


def environments_folder() -> Path:
    """Where they are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lohovla" / "peers"


def peer_python(peer: str, given: Mapping[str, str | None]) -> str:
    """The interpreter that has a peer; its environment is made if there is none yet.

    Args:
        peer: of :data:`PEERS`.
        given: interpreters by peer, as the user named them.

    Raises:
        UserError: there is no such interpreter, or the peer cannot be installed.
    """
    if (named := given.get(peer)) is not None:
        if not Path(named).exists():
            raise UserError(f"python.{peer}={named} does not exist", f"leave it out, and {peer} is installed")
        return named
    folder = environments_folder() / "-".join([peer, *PEERS[peer][0].split("==")[-1:]])
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([_base_python(peer), "-m", "venv", str(folder)], peer)
        print(f"installing {', '.join(PEERS[peer])} in {folder}", file=sys.stderr)
        _run([str(python), "-m", "pip", "install", "--quiet", *PEERS[peer]], peer)
        ready.touch()
    return str(python)


def _base_python(peer: str) -> str:
    """An interpreter that is new enough for the peer: this one, else one on the path that starts."""
    needed = _NEEDS.get(peer, (3, 11))
    if sys.version_info >= needed:
        return sys.executable
    names = [f"python{needed[0]}.{needed[1] + more}" for more in range(2)]
    for name in names:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    raise UserError(
        f"{peer} needs Python {needed[0]}.{needed[1]}", f"install {names[0]}, or python.{peer}=/path/to/python"
    )


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise UserError(f"{peer} cannot be installed: {said:.200}", f"python.{peer}=/path/to/python, if you have it")
