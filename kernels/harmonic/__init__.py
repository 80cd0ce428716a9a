"""The harmonic ring simulation."""
