"""What each node can do right now: signed, versioned, expiring."""
