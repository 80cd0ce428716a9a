"""Who may enter: invites, certificates, revocations."""
