"""What travels between members: kinds, envelope, codec, sealed datagrams."""
