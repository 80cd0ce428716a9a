"""The elasticity simulation."""
