"""Readers of this machine's sensors, one a source; each takes the root of /sys and /proc."""
