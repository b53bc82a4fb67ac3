"""Motion limits, interlocks, deadman switch, and the receiving side's watchdog."""
