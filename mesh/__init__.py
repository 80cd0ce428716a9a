"""Who is there, what time it is, what they can do, who to trust."""
