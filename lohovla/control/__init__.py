"""The real-time loop: action chunks in time, safety, watchdogs, limits, latency accounting."""
