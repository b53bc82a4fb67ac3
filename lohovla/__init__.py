"""LoHoVLA: one model plans in text and images and acts in continuous commands.

Importing this package is cheap: nothing heavy loads until it is used.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lohovla")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
