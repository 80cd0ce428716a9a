"""Contacts that strangers claim: checked before they get near a socket or a file."""

import re

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import Malformed

HOSTS_LIMIT = 16
_PORTS = 65_535
_HOST = re.compile(r"[0-9A-Za-z_.:%-]{1,255}", re.ASCII)
"""No ``;``, ``/`` or brackets: a host becomes part of a ZeroMQ endpoint."""


def check_contact(contact: Contact) -> None:
    """Check that a contact can be dialled.

    Raises:
        Malformed: No or too many hosts, a host with odd characters, or a port out of range.
    """
    if not 1 <= len(contact.hosts) <= HOSTS_LIMIT:
        raise Malformed(f"a contact names {len(contact.hosts)} hosts, not 1 to {HOSTS_LIMIT}")
    for host in contact.hosts:
        if _HOST.fullmatch(host) is None:
            raise Malformed(f"{host[:40]!r} is no host")
    for port in (contact.stream, contact.door):
        if not 1 <= port <= _PORTS:
            raise Malformed(f"{port} is no port")
    if not 0 <= contact.datagram <= _PORTS:
        raise Malformed(f"{contact.datagram} is no port")


def show_contact(contact: Contact) -> str:
    """Return a contact for people: its first host with the stream port."""
    hosts = contact.addresses(contact.stream)
    return hosts[0] if hosts else "nowhere"
