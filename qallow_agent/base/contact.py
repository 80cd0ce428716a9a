"""Where a node can be reached."""

import msgspec

from qallow_agent.base.ids import Address


class Contact(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The addresses of one node: hosts in order of preference, and one port a lane.

    Args:
        hosts: IP addresses or names, no brackets; at most 16.
        stream: TCP port of the CURVE mesh socket.
        door: TCP port of the CURVE door, where strangers knock.
        datagram: UDP port of the sealed lane; 0 when UDP is not available.
    """

    hosts: tuple[str, ...]
    stream: int
    door: int
    datagram: int = 0

    def addresses(self, port: int) -> tuple[Address, ...]:
        """Return ``host:port`` for every host, IPv6 in brackets."""
        return tuple(join_address(host, port) for host in self.hosts)


def join_address(host: str, port: int) -> Address:
    """Return ``host:port``, with brackets around an IPv6 host."""
    return Address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
