"""Sync pulses: offsets with honest bounds, and pacing."""
