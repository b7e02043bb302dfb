"""State that outlives a packet: operator states in `[state] dir`."""
