"""Ends of membership: signed, gossiped, never forgotten."""

from collections.abc import Iterable

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, JoinRefused, Malformed, StorageCorrupt
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.mesh.trust.certificates import CLOCK_SKEW_S, check_authority
from qallow_agent.mesh.wire.identity import is_identity
from qallow_agent.mesh.wire.kinds import Certificate, Revocation, Revoked

NAME = "trust/revoked"
REASON_LIMIT = 200
BATCH = 48
"""Revocations a message: each is below 1.2 KiB, so a message stays below its 64 KiB."""

_REVOCATION = "qallow/revocation/v1"


class Revocations:
    """Every revocation this node believes; ``node in revocations`` tells who is out.

    Args:
        kept: What was kept, from :func:`decode_revocations`.
        limit: Most revocations, a fuse against a runaway issuer.
    """

    def __init__(self, kept: tuple[Revocation, ...], limit: int) -> None:
        self._by_node = {revocation.node: revocation for revocation in kept}
        self._limit = limit

    def __contains__(self, node: object) -> bool:
        return node in self._by_node

    def add(
        self, revocations: Iterable[Revocation], mesh: MeshId, mesh_key: bytes
    ) -> tuple[Revocation, ...]:
        """Verify and take in what is new; return it. Nothing is taken if anything is forged.

        Raises:
            BadSignature: A revocation is forged or for another mesh.
            Malformed: A field has an impossible shape.
            JoinRefused: The issuer had no right to revoke, or the fuse is blown.
        """
        fresh = {item.node: item for item in revocations if item.node not in self._by_node}
        for revocation in fresh.values():
            verify_revocation(revocation, mesh, mesh_key)
        if len(self._by_node) + len(fresh) > self._limit:
            raise JoinRefused(f"more than {self._limit} revocations; no more are believed")
        self._by_node.update(fresh)
        return tuple(fresh.values())

    def all(self) -> tuple[Revocation, ...]:
        """Return every revocation, by node id."""
        return tuple(self._by_node[node] for node in sorted(self._by_node))

    def encode(self) -> bytes:
        """Return the bytes to keep under ``trust/revoked``."""
        return msgspec.msgpack.encode(self.all())


def revoke(
    signer: SigningKey,
    authority: Certificate | None,
    *,
    mesh: MeshId,
    node: NodeId,
    reason: str,
    now_s: int,
) -> Revocation:
    """Return a signed revocation.

    Args:
        signer: The mesh key, or the node key of an issuer.
        authority: The issuer's certificate, unless the mesh key signs.
        mesh: Id of the mesh.
        node: Whose membership ends.
        reason: For people; cut at ``REASON_LIMIT`` characters.
        now_s: Wall clock, seconds since 1970.
    """
    unsigned = Revocation(mesh, node, now_s, reason[:REASON_LIMIT], signer.id, authority)
    signature = signer.sign(revocation_bytes(unsigned))
    return msgspec.structs.replace(unsigned, signature=signature)


def revocation_bytes(revocation: Revocation) -> bytes:
    """Return the bytes a revocation's signature covers."""
    return canonical(_REVOCATION, msgspec.structs.replace(revocation, signature=b""))


def verify_revocation(revocation: Revocation, mesh: MeshId, mesh_key: bytes) -> None:
    """Check that a revocation was signed by the mesh key or by one of its issuers.

    Raises:
        BadSignature: It is forged or for another mesh.
        Malformed: A field has an impossible shape.
        JoinRefused: The signer had no right to revoke then.
    """
    if revocation.mesh != mesh:
        raise BadSignature("a revocation is for another mesh")
    if not is_identity(revocation.node) or len(revocation.reason) > REASON_LIMIT:
        raise Malformed("a revocation names no node, or too long a reason")
    if revocation.issuer == mesh:
        verify(mesh_key, revocation_bytes(revocation), revocation.signature)
        return
    authority = revocation.authority
    if authority is None:
        raise BadSignature("a revocation comes without its issuer's certificate")
    check_authority(authority, revocation.issuer, mesh, mesh_key)
    verify(authority.node_key, revocation_bytes(revocation), revocation.signature)
    if not authority.issued_s - CLOCK_SKEW_S <= revocation.revoked_s < authority.expires_s:
        raise JoinRefused("a revocation was signed outside its issuer's time")


def in_batches(revocations: tuple[Revocation, ...]) -> tuple[Revoked, ...]:
    """Return the messages that carry some revocations."""
    return tuple(
        Revoked(revocations[start : start + BATCH]) for start in range(0, len(revocations), BATCH)
    )


def decode_revocations(data: bytes | None) -> tuple[Revocation, ...]:
    """Return the revocations that kept bytes hold; none for None.

    Raises:
        StorageCorrupt: The bytes do not decode; names the file.
    """
    if data is None:
        return ()
    try:
        return msgspec.msgpack.decode(data, type=tuple[Revocation, ...])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}", hint="delete it; peers will tell us again"
        ) from error
