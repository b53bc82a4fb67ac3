"""Compiling the kernels for sm_90 without a GPU, and what the compiler says: spills, shared memory, wgmma."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "0")  # before the kernels are imported: here they are compiled
from lohovla.kernels.runtime import AotSpec, for_float32, triton

# Arguments that are multiples of 16 in what is served.
_MULTIPLES = {"D", "K", "N", "W"} | {
    f"{name}_{axis}" for name in ("q", "k", "past") for axis in ("batch", "head", "row")
}
SHARED_LIMIT = 227 * 1024  # bytes that a block may have on sm_90


@dataclass(frozen=True)
class Report:
    """What became of a kernel.

    Attributes:
        kernel: its name and constants.
        registers: of a thread.
        spills: bytes of a thread's local memory written and read because registers did not suffice.
        shared: bytes of shared memory of a block.
        products: matrix products in it.
        wgmma: whether they became the tensor cores' asynchronous instruction.
    """

    kernel: str
    registers: int
    spills: int
    shared: int
    products: bool
    wgmma: bool

    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        found = []
        if self.spills:
            found.append(f"spills {self.spills} bytes")
        if self.shared > SHARED_LIMIT:
            found.append(f"takes {self.shared} bytes of shared memory, more than {SHARED_LIMIT}")
        if self.products and not self.wgmma:
            found.append("has matrix products without wgmma")
        return found


def compile_for_sm_90(wanted: AotSpec) -> Report:
    """Compile one kernel and read the assembler's report."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = wanted.kernel.arg_names
    signature = {name: wanted.types.get(name, "constexpr") for name in names}
    # As at run time with aligned tensors and sizes that are multiples of 16: loads become wide.
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, name in enumerate(names)
        if signature[name].startswith("*") or (name in _MULTIPLES and signature[name] == "i32")
    }
    source = ASTSource(wanted.kernel, signature, constexprs=dict(wanted.constants), attrs=aligned)
    made: Any = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(wanted.launch))
    registers, spills = _assemble(made.asm["ptx"])
    sizes = ", ".join(f"{key}={value}" for key, value in wanted.constants.items())
    name = f"{wanted.kernel.__module__.rsplit('.', 1)[1]}{wanted.kernel.__name__}({sizes})"
    return Report(name, registers, spills, made.metadata.shared, wanted.products, "wgmma.mma_async" in made.asm["ptx"])


def _assemble(ptx: str) -> tuple[int, int]:
    """Registers and spilled bytes of a thread, from ptxas."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        command = [_ptxas(), "-v", "--gpu-name=sm_90a", str(source), "-o", str(Path(folder) / "kernel.cubin")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers = max(int(n) for n in re.findall(r"Used (\d+) registers", said))
    return registers, sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", said))


def _ptxas() -> str:
    """The assembler that Triton itself takes for sm_90; which one that is differs between versions."""
    from triton.backends.nvidia import compiler

    try:
        return compiler.get_ptxas(90).path
    except (AttributeError, TypeError):
        shipped = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
        return str(shipped) if shipped.exists() else shutil.which("ptxas") or "ptxas"


def in_float32(wanted: AotSpec) -> AotSpec:
    """The same for float32 instead of bfloat16: with smaller tiles, and products that are none of the tensor cores'."""
    types = {name: kind.replace("bf16", "fp32") for name, kind in wanted.types.items()}
    how = for_float32({**wanted.constants, **wanted.launch})
    launch = {name: how.pop(name) for name in wanted.launch}
    return AotSpec(wanted.kernel, types, how, launch, products=False)


def main() -> int:
    """Compile all kernels, for bfloat16 or with the argument ``float32``; print a table, and return how many fail."""
    from lohovla.kernels.registry import KERNELS

    wanted = [one for kernel in KERNELS.values() for one in kernel.module.aot_specs()]
    reports = [compile_for_sm_90(in_float32(one) if "float32" in sys.argv[1:] else one) for one in wanted]
    print("| kernel | registers | shared, KB | faults |\n|---|---|---|---|")
    for one in reports:
        print(f"| {one.kernel} | {one.registers} | {one.shared / 1024:.0f} | {', '.join(one.faults()) or 'none'} |")
    return sum(bool(one.faults()) for one in reports)


if __name__ == "__main__":
    sys.exit(main())
