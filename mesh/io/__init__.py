"""The only mesh code that touches the world: sockets, resolvers, NTP."""
