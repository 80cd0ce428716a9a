"""ICMP refusals of our datagrams: proof within a millisecond that a peer's port is closed.

An unconnected UDP socket hears of them only through Linux's error queue (ip(7), IP_RECVERR).
"""

import socket
import struct
import sys

from qallow_agent.mesh.io.addresses import SocketAddress

# Linux's values; Python's socket module names them only from 3.14 on.
_IP_RECVERR = 11
_IPV6_RECVERR = 25

_EXTENDED_ERROR = struct.Struct("@IBBBBII")
_ECONNREFUSED = 111
_ORIGINS = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_CONTROL_BYTES = 512
_AT_ONCE = 64


def hear_refusals(lane: socket.socket) -> None:
    """Ask the kernel to queue ICMP errors of a datagram socket; only Linux can."""
    if sys.platform != "linux":
        return
    lane.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    if lane.family is socket.AF_INET6:
        lane.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def refused_addresses(lane: socket.socket) -> list[SocketAddress]:
    """Return the destinations that refused a datagram since the last call, at most 64."""
    refused: dict[SocketAddress, None] = {}
    if sys.platform != "linux":
        return []
    for _ in range(_AT_ONCE):
        try:
            _, control, _, address = lane.recvmsg(0, _CONTROL_BYTES, socket.MSG_ERRQUEUE)
        except OSError:
            break
        if any(_is_refusal(level, kind, data) for level, kind, data in control):
            refused[(address[0], address[1])] = None
    return list(refused)


def _is_refusal(level: int, kind: int, data: bytes) -> bool:
    if (level, kind) not in (
        (socket.IPPROTO_IP, _IP_RECVERR),
        (socket.IPPROTO_IPV6, _IPV6_RECVERR),
    ):
        return False
    if len(data) < _EXTENDED_ERROR.size:
        return False
    number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
    return number == _ECONNREFUSED and origin in _ORIGINS
