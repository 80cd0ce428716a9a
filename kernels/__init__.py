"""What can be computed and how."""
