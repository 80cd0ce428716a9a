"""Words that every room shares: errors, identities, effects, messages, keys."""
