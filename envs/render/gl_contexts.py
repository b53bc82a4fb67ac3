"""OpenGL contexts off screen: one for each thread that draws, handed on when a thread ends.

A context takes 20 MB, and on a GPU of the GPU's memory. Threads come and go with the environments that use them, so
that the context of a thread that ended serves the next that draws; all go at the end of the process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import functools
import importlib
import os
import threading
import warnings
from typing import Any

from lohovla.mujoco_import import chosen_backend, error_in_a_line, no_opengl
from lohovla.native_libraries import load_triton

MAX_WIDTH, MAX_HEIGHT = 1280, 960  # the largest picture, pixels

_local = threading.local()
_idle: list[GlContext] = []  # contexts of threads that ended


class GlContext:
    """An OpenGL context and what was built in it.

    Attributes:
        backend: the library, as ``MUJOCO_GL`` calls it.
        canvases: MuJoCo's rendering contexts by what they are for; each has a ``free()``.
    """

    def __init__(self) -> None:
        # A process can use one of them only: PyOpenGL binds to the first.
        self.backend = chosen_backend() or ("egl" if ctypes.util.find_library("EGL") else "osmesa")
        load_triton()
        # llvmpipe's own threads cost more than they bring at observation sizes, and processes or threads of
        # environments already fill the cores.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        try:
            with warnings.catch_warnings():  # GLFW's, which the error below repeats
                warnings.simplefilter("ignore")
                self._module = importlib.import_module(f"mujoco.{self.backend}")
                self._gl = self._module.GLContext(MAX_WIDTH, MAX_HEIGHT)
                self.bind()
        except Exception as error:  # each backend has its own kinds, at import and at creation
            raise no_opengl(f"{self.backend}: {error_in_a_line(error)}") from None
        self.canvases: dict[Any, Any] = {}
        _free_at_exit()

    def bind(self) -> None:
        """Make this the calling thread's context until :meth:`unbind`, which the same thread must call."""
        if hasattr(self._module, "EGL"):  # which programming interface is meant is a setting of each thread
            self._module.EGL.eglBindAPI(self._module.EGL.EGL_OPENGL_API)
        self._binding = contextlib.ExitStack()
        self._binding.enter_context(self._gl.as_current())

    def unbind(self) -> None:
        """Let another thread have it."""
        self._binding.close()

    def free(self) -> None:
        """Give everything back. It must not be another thread's context."""
        with self._gl.as_current():
            for canvas in self.canvases.values():
                canvas.free()
            self.canvases.clear()
        self._gl.free()


class _Lease:
    """A thread's hold of a context. It lies in the thread's local storage, which is cleared, by it, when it ends."""

    def __init__(self) -> None:
        try:
            self.context = _idle.pop()
        except IndexError:
            self.context = GlContext()
        else:
            self.context.bind()

    def end(self) -> None:
        """Hand the context on."""
        self.context.unbind()
        _idle.append(self.context)

    def __del__(self) -> None:
        if hasattr(self, "context"):
            self.end()


def thread_context() -> GlContext:
    """The calling thread's context, made current.

    Raises:
        SetupError: OpenGL cannot be had here.
    """
    if not hasattr(_local, "lease"):
        _local.lease = _Lease()
    return _local.lease.context


@functools.cache
def _free_at_exit() -> None:
    """Have all contexts freed while the libraries that free them are still there: after MuJoCo's own hook is set."""
    atexit.register(_free_all)


def _free_all() -> None:
    """Free the contexts of this thread and of those that ended."""
    vars(_local).clear()
    while _idle:
        _idle.pop().free()
