"""Who holds the virtual IP, and how it comes to a host and leaves it (HA-RULES)."""
