"""Who is alive: SWIM with Lifeguard and named witnesses."""
