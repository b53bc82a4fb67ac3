import os

# Before the kernels are imported: on machines without a GPU they run in Triton's interpreter.
os.environ["TRITON_INTERPRET"] = "1"
