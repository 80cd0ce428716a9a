"""Which device runs what, and why."""
