"""Kernels are compiled for sm_90 without a GPU: no spills, shared memory that fits, products on the tensor cores."""

import os
import platform
import subprocess
import sys

import pytest

from lohovla.kernels.aot_compile import SHARED_LIMIT, Report

pytest.importorskip("triton")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembler is that of this platform")
def test_compiles_for_sm_90():
    # A process of its own: in this one the kernels are the interpreter's.
    unset = ("TRITON_INTERPRET", "TRITON_DEFAULT_FP_FUSION")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    said = subprocess.run(
        [sys.executable, "-m", "lohovla.kernels.aot_compile"], env=environment, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count("| none |") >= 10
    assert "FP fusion" not in said.stderr  # Triton warns where it has to choose, and 3.10 chooses otherwise


def test_faults_are_named():
    assert not Report("good", 128, 0, SHARED_LIMIT, True, True).faults()
    bad = Report("bad", 255, 8, SHARED_LIMIT + 1, True, False).faults()
    assert [fault.split()[0] for fault in bad] == ["spills", "takes", "has"]
    assert not Report("no products", 32, 0, 0, False, False).faults()
