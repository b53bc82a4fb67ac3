"""Recording of runs as data sets and bags."""
