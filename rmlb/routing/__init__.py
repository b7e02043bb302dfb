"""Which way a message goes, pure: `now` is a parameter, nothing here does I/O."""
