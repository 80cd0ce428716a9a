"""Addresses of this machine, and the arithmetic of ``host:port``."""

import ipaddress
import re
import socket
from dataclasses import dataclass

import psutil

from qallow_agent.base.ids import Address

LOOPBACK = "127.0.0.1"
LOOPBACK_BROADCAST = "127.255.255.255"

SocketAddress = tuple[str, int]

# A zone is an interface's name or number (RFC 4007); libzmq gives other characters a meaning.
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_ADVERTISED_LIMIT = 8
PORT_LIMIT = 65535


@dataclass(frozen=True, slots=True)
class Interface:
    """One IPv4 address of this machine and the broadcast address of its network, if any."""

    address: str
    broadcast: str | None


def is_literal(host: str) -> bool:
    """Whether a host is an IP address, so that no name lookup is needed."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    scope = getattr(address, "scope_id", None)
    return scope is None or _SCOPE.fullmatch(scope) is not None


def split_address(address: Address) -> tuple[str, int] | None:
    """Return host and port of ``host:port`` or ``[v6]:port``; None when it is neither."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit():
        return None
    number = int(port)
    return (host, number) if 0 < number <= PORT_LIMIT else None


def fit_family(host: str, port: int, family: socket.AddressFamily) -> SocketAddress | None:
    """Return a literal host as an address of a socket's family; None when it cannot be one.

    A dual-stack IPv6 socket reaches IPv4 hosts by their mapped addresses (RFC 4291, 2.5.5.2).
    """
    is_v6 = ":" in host
    if family is socket.AF_INET6:
        return (host if is_v6 else f"::ffff:{host}", port)
    return None if is_v6 else (host, port)


def ipv4_interfaces() -> tuple[Interface, ...]:
    """Return the IPv4 addresses of every interface that is up, loopback last."""
    up = psutil.net_if_stats()
    found: list[Interface] = []
    for name, addresses in psutil.net_if_addrs().items():
        if name in up and not up[name].isup:
            continue
        found += [
            Interface(item.address, item.broadcast)
            for item in addresses
            if item.family is socket.AF_INET and not item.address.startswith("127.")
        ]
    return (*found, Interface(LOOPBACK, LOOPBACK_BROADCAST))


def advertised_hosts(bind: str) -> tuple[str, ...]:
    """Return the hosts to advertise for a bind address: itself, or every global one for "any".

    A machine without a network advertises loopback, so that agents on it still form a mesh.
    """
    if not ipaddress.ip_address(bind).is_unspecified:
        return (bind,)
    hosts = [item.address for item in ipv4_interfaces() if item.address != LOOPBACK]
    hosts = [host for host in hosts if not ipaddress.ip_address(host).is_link_local]
    if bind == "::":
        hosts += _global_ipv6()
    return tuple(hosts[:_ADVERTISED_LIMIT]) or (LOOPBACK,)


def _global_ipv6() -> list[str]:
    return [
        item.address
        for addresses in psutil.net_if_addrs().values()
        for item in addresses
        if item.family is socket.AF_INET6 and _is_reachable_ipv6(item.address)
    ]


def _is_reachable_ipv6(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    return not (address.is_link_local or address.is_loopback)
