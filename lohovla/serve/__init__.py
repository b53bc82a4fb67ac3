"""Servers and their clients. ``wire``, ``pictures`` and ``client`` load no server, no policy and no torch."""
