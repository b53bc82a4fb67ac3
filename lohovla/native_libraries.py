"""The order in which native libraries are loaded, where it decides whether the process lives."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
from pathlib import Path


@functools.cache
def load_triton() -> None:
    """Load Triton's library, if there is one, so that OpenGL and Triton can share a process in either order.

    Mesa loads its drivers, and with them the system's LLVM, for all to see (``RTLD_GLOBAL``). Triton's library holds
    an LLVM of its own whose symbols have no version: loaded afterwards, it is bound to those of the system's, another
    release, and dies in its initialisers (SIGSEGV in ``import triton``, which ``import transformers`` does as well).
    Loaded before, it keeps its own. So this is called before anything is drawn; it takes a tenth of a second and 2 MB,
    and ``import triton`` then finds the library in place. Where somebody else has drawn already, the library is told
    to prefer its own symbols.
    """
    spec = importlib.util.find_spec("triton")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in Path(folder, "_C").glob("libtriton*.so"):
            late = hasattr(ctypes.CDLL(None), "LLVMContextCreate")
            # Not in every case: a library that prefers its own symbols does not see a replaced malloc either.
            mode = os.RTLD_LOCAL | (getattr(os, "RTLD_DEEPBIND", 0) if late else 0)
            with contextlib.suppress(OSError):  # a broken one says so to those who import it
                ctypes.CDLL(str(library), mode=mode)
