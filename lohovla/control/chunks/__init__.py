"""Action chunks in time: trajectory, handover, real-time chunking."""
