"""Whether a member answers: `tracker` decides (pure), `probe` asks (sockets)."""
