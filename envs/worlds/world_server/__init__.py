"""What runs in a world's own process, under that world's own Python: it needs numpy, Gymnasium and the world alone.

Imports within this folder are relative, and none leads out of it: the process adds the folder above to its path and
runs ``world_server.serve``, so that LoHoVLA itself need not be installed there.
"""
