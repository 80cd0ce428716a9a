"""The systems that are compared, each driven in a process of its own."""
