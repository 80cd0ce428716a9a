"""What happened, provably: append-only logs in the published formats of C2SP."""
