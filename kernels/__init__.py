"""Triton kernels of the decision's and the decoder's hot paths, each beside its reference and its count.

A file holds one operation: the kernel, the reference in plain PyTorch, the function that chooses between them, and the
bytes and operations that it cannot do without. :data:`lohovla.kernels.registry.KERNELS` lists them.
"""
