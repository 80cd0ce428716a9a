"""Leases are signed by their executor: nobody else can promise its runners."""

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature
from qallow_agent.base.ids import key_id
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.jobs.messages import Lease

_DOMAIN = "qallow/lease/v2"


def signed_bytes(lease: Lease) -> bytes:
    """Return what a lease's signature covers: every field but the signature."""
    return canonical(_DOMAIN, msgspec.structs.replace(lease, signature=b""))


def sign_lease(lease: Lease, identity: SigningKey) -> Lease:
    """Return the lease with the executor's signature."""
    return msgspec.structs.replace(lease, signature=identity.sign(signed_bytes(lease)))


def verify_lease(lease: Lease, node_key: bytes) -> None:
    """Check that a lease was signed by the node it names.

    Raises:
        BadSignature: The key is not that node's, or the signature does not cover these fields.
    """
    if key_id(node_key) != lease.node:
        raise BadSignature(f"the key does not belong to {lease.node}")
    verify(node_key, signed_bytes(lease), lease.signature)
