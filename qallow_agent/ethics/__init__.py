"""Whether work may start here and now: a measured score, the gate it drives, and its words."""
