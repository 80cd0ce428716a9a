"""The hallway: one Node carries every item between the rooms."""
