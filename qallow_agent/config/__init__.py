"""Settings from defaults, files, environment and flags, each with its source."""
