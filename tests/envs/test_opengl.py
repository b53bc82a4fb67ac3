"""OpenGL beside other libraries, in threads that come and go, and where it is not: each in a process of its own."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
DRAW = """
from lohovla.envs.env import BlocksEnv
env = BlocksEnv(cameras={"wrist": {"width": 32, "height": 32}})
assert env.reset(seed=1)[0]["images.wrist"].any()
"""
MUJOCO_DRAWS = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
theirs = mujoco.Renderer(model, 32, 32)
theirs.update_scene(data)
theirs.render()
"""
TRITON = "import triton\n"


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter; a variable given as "" is not set."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "MUJOCO_GL": "", **variables}
    environment = {name: value for name, value in environment.items() if value}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(params=["egl", "osmesa"])
def backend(request: pytest.FixtureRequest) -> str:
    """A library that renders off screen, where it is installed."""
    if ctypes.util.find_library({"egl": "EGL", "osmesa": "OSMesa"}[request.param]) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


# -- beside Triton, whose LLVM is not Mesa's -----------------------------------------------------------


@needs_triton
@pytest.mark.parametrize(
    "script",
    [DRAW + TRITON, TRITON + DRAW, "import lohovla.envs.env\n" + TRITON + DRAW, MUJOCO_DRAWS + DRAW + TRITON],
    ids=["draw-triton", "triton-draw", "environment-triton-draw", "another-draws-first"],
)
def test_drawing_and_triton_share_a_process_in_either_order(backend, script):
    done = run_python(script + "env.observe()\nprint('alive')", MUJOCO_GL=backend)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]


@needs_triton
def test_a_broken_triton_stops_no_environment(tmp_path):
    (tmp_path / "triton" / "_C").mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    (tmp_path / "triton" / "_C" / "libtriton.so").write_text("no library")
    done = run_python(DRAW + "print('drawn')", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "drawn\n"), done.stderr[-2000:]


# -- threads that end ----------------------------------------------------------------------------------

CLOSED_ONES = """
import gc
from lohovla.envs.vector import BlocksVectorEnv

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

sizes = []
for _ in range(8):
    env = BlocksVectorEnv(2, threads=2, cameras={"top": {"width": 64, "height": 32}})
    env.reset(seed=10001)
    env.close()
    del env
    gc.collect()
    sizes.append(megabytes())
print((sizes[-1] - sizes[2]) / 5)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of memory")
def test_a_closed_vector_environment_keeps_no_memory(backend):
    """A context a thread is 20 MB, so 40 for each environment if they stayed."""
    done = run_python(CLOSED_ONES, MUJOCO_GL=backend)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # also at the end of the process, where the contexts are freed
    assert float(done.stdout) < 5.0


PASSED_ON = """
import threading
import numpy as np
from lohovla.envs.env import BlocksEnv
from lohovla.envs.render import gl_contexts

def look():
    env = BlocksEnv(cameras={"top": {"width": 64, "height": 32}, "wrist": {"width": 32, "height": 32}})
    seen.append((env.reset(seed=3)[0]["images.wrist"], gl_contexts.thread_context()))

seen = []
for _ in range(3):  # one after the other: one context, and the pictures are those of a new one
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
look()  # this thread took it over, and keeps it
thread = threading.Thread(target=look)
thread.start()
thread.join()
for picture, _ in seen:
    np.testing.assert_array_equal(picture, seen[0][0])
used = [id(context) for _, context in seen]
print([used.index(context) for context in used])
"""


def test_the_context_of_a_thread_that_ended_serves_the_next(backend):
    done = run_python(PASSED_ON, MUJOCO_GL=backend)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0, 0, 4]\n", "")


# -- OpenGL that is not there --------------------------------------------------------------------------

# As on a machine without a library, wherever this runs; Python imports it at its start.
HIDE = """
import ctypes

plain = ctypes.CDLL.__init__


def picky(self, name=None, *more, **others):
    if "{hidden}" in str(name).lower():
        raise OSError(f"{{name}}: cannot open shared object file")
    plain(self, name, *more, **others)


ctypes.CDLL.__init__ = picky
"""
COMMAND = "from lohovla.cli import main; raise SystemExit(main(['rollout', 'control=pick_place', 'video=false']))"
MAKE = """
import gymnasium
import lohovla.envs
from lohovla.errors import SetupError
try:
    gymnasium.make("lohovla/PickAndPlacePrimitive-v1").reset(seed=1)
except SetupError as error:
    print(error)
"""


@pytest.mark.parametrize("value", ["osmesa", " EGL ", "nonsense", "disable"])
def test_a_choice_of_opengl_that_cannot_be_had_gets_two_lines(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = value.strip().lower()
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=name))
    variables = {"MUJOCO_GL": value, "PYTHONPATH": str(tmp_path), "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    done = run_python(COMMAND, **variables)
    assert done.returncode == 2, done.stderr[-2000:]
    cause, remedy = done.stderr.splitlines()
    assert cause.startswith(f"lohovla: no OpenGL to render with ({name}: ")
    assert "apt-get install -y" in remedy


def test_gymnasiums_make_says_it_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden="osmesa"))
    made = run_python(MAKE, MUJOCO_GL="osmesa", PYTHONPATH=str(tmp_path))
    assert made.returncode == 0, made.stderr[-2000:]
    cause, remedy = made.stdout.splitlines()
    assert cause.startswith("no OpenGL to render with (osmesa: ")
    assert "libosmesa6" in remedy


def test_a_display_that_is_not_there_gets_two_lines(tmp_path, monkeypatch):
    if importlib.util.find_spec("glfw") is None:
        pytest.skip("GLFW is not installed")
    monkeypatch.chdir(tmp_path)
    done = run_python(COMMAND, MUJOCO_GL="glfw", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 2, done.stderr[-2000:]
    cause, remedy = done.stderr.splitlines()
    assert cause.startswith("lohovla: no OpenGL to render with (glfw: ")
    assert "apt-get install -y" in remedy


@pytest.mark.parametrize("value", ["on", " egl "])
def test_what_mujoco_takes_for_a_choice_is_one_here(value):
    if ctypes.util.find_library("EGL") is None:
        pytest.skip("egl is not installed")
    done = run_python(DRAW, MUJOCO_GL=value)
    assert done.returncode == 0, done.stderr
