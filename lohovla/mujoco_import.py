"""MuJoCo, the one place where it is imported: a choice of OpenGL that is not there gets its two lines here.

MuJoCo loads the library that ``MUJOCO_GL`` names when it is imported, before anything is drawn, and each way in
which that can fail raises something else. Modules say ``from lohovla.mujoco_import import mujoco``.
"""

from __future__ import annotations

import os

from lohovla.errors import SetupError
from lohovla.native_libraries import load_triton


def chosen_backend() -> str:
    """What ``MUJOCO_GL`` asks for, in lower case; empty if it leaves the choice open."""
    name = os.environ.get("MUJOCO_GL", "").strip().lower()
    return "" if name in ("enable", "enabled", "on", "true", "1") else name


def no_opengl(reason: str) -> SetupError:
    """The error of a machine on which nothing can be drawn."""
    return SetupError(
        f"no OpenGL to render with ({reason})",
        "apt-get install -y libegl1 libgl1 libosmesa6   (or choose with MUJOCO_GL=egl, MUJOCO_GL=osmesa)",
    )


def error_in_a_line(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


if chosen_backend() == "osmesa":  # its library is linked to LLVM, so that the import alone loads it
    load_triton()
try:
    import mujoco
except ImportError:  # a broken installation, not a question of OpenGL: MuJoCo does without a missing backend
    raise
except Exception as error:  # each backend has its own kinds
    raise no_opengl(f"{chosen_backend()}: {error_in_a_line(error)}") from None

__all__ = ["chosen_backend", "error_in_a_line", "mujoco", "no_opengl"]
