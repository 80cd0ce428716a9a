"""Certificates: what the mesh says about a node, and when to believe it.

A credential is believed only if all of this holds:

- the certificate names our mesh and the node id that its key gives;
- the mesh key signed it, or a member did whose own certificate is signed by the mesh key, carries
  the issuing role, and covers the whole life of what it signed;
- a member signed no privileged role: issuer, owner and operator come from the mesh key alone;
- neither the node nor its issuer is revoked;
- it is neither expired nor issued in our future;
- the CURVE key is bound by a signature of the node key.
"""

import re
from collections.abc import Container

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, JoinRefused, Malformed
from qallow_agent.base.ids import MeshId, NodeId, key_id, show_id
from qallow_agent.base.keys import KEY_BYTES, SigningKey, verify
from qallow_agent.mesh.wire.kinds import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Certificate,
    Credential,
    CurveBinding,
    Role,
)

CLOCK_SKEW_S = 300
"""How far a peer's clock may run ahead of ours before its certificate counts as not yet valid.

Kerberos allows the same five minutes (RFC 4120, section 1.6 and its customary setting).
"""

PRIVILEGED = (Role.ISSUER, Role.OWNER, Role.OPERATOR)
"""Roles that only the mesh key grants, so that an issuer cannot make issuers."""

_CERTIFICATE = "qallow/certificate/v1"
_BINDING = "qallow/curve-binding/v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_ZONE_LIMIT = 63
_ASK_RENEWAL = "ask an issuer for a new invite; also check the clock of both nodes"


class Subject(msgspec.Struct, frozen=True):
    """Whom a certificate is about: everything in it that the issuer does not decide by itself."""

    node_key: bytes
    name: str
    roles: tuple[Role, ...]
    zone: str = "default"
    protocol: tuple[int, int] = (OLDEST_PROTOCOL, PROTOCOL)


def is_name(text: str) -> bool:
    """Return whether a text may name a node: a host-name-like label of 1 to 63 characters."""
    return _NAME.fullmatch(text) is not None


def bind_curve(identity: SigningKey, curve_public: bytes, epoch: int, now_s: int) -> CurveBinding:
    """Return a node's signed word that a CURVE key is its own from this boot on."""
    signature = identity.sign(canonical(_BINDING, (curve_public, now_s, epoch)))
    return CurveBinding(curve_public, now_s, epoch, signature)


def certificate_bytes(certificate: Certificate) -> bytes:
    """Return the bytes a certificate's signature covers: every field but the signature."""
    return canonical(_CERTIFICATE, msgspec.structs.replace(certificate, signature=b""))


def issue(
    signer: SigningKey,
    subject: Subject,
    *,
    mesh: MeshId,
    now_s: int,
    lifetime_s: float,
    authority: Certificate | None = None,
) -> Certificate:
    """Return a certificate for a node, signed.

    Args:
        signer: The mesh key, or the node key of a member with the issuing role.
        subject: Whom it is about.
        mesh: Id of the mesh.
        now_s: Wall clock, seconds since 1970.
        lifetime_s: Seconds it shall last; cut short at the end of ``authority``.
        authority: The issuer's own certificate, unless the mesh key signs.

    Raises:
        JoinRefused: The issuer may not grant one of the roles.
    """
    expires_s = now_s + int(lifetime_s)
    if authority is not None:
        _check_grant(subject.roles, authority.name)
        expires_s = min(expires_s, authority.expires_s)
    unsigned = Certificate(
        mesh=mesh,
        node=NodeId(key_id(subject.node_key)),
        node_key=subject.node_key,
        name=subject.name,
        roles=subject.roles,
        zone=subject.zone,
        issued_s=now_s,
        expires_s=expires_s,
        protocol=subject.protocol,
        issuer=signer.id,
    )
    signature = signer.sign(certificate_bytes(unsigned))
    return msgspec.structs.replace(unsigned, signature=signature)


def verify_credential(
    credential: Credential,
    *,
    mesh: MeshId,
    mesh_key: bytes,
    now_s: int,
    revoked: Container[NodeId],
) -> None:
    """Check every rule of this module's docstring.

    Raises:
        BadSignature: Something is forged.
        Malformed: A field has an impossible shape.
        JoinRefused: Genuine, but not good here and now; the message says why.
    """
    certificate = credential.certificate
    _check_shape(certificate, mesh)
    _check_issuer(credential, mesh, mesh_key, revoked)
    if certificate.node in revoked:
        raise JoinRefused(f"node {_who(certificate)} is revoked", hint="it needs a new node key")
    _check_dates(certificate, now_s)
    check_binding(credential.binding, certificate.node_key, now_s)


def check_binding(binding: CurveBinding, node_key: bytes, now_s: int) -> None:
    """Check that a node key vouches for a CURVE key.

    Raises:
        Malformed: The CURVE key has the wrong length.
        BadSignature: The node key did not sign the binding.
        JoinRefused: The binding lies in our future.
    """
    if len(binding.curve_key) != KEY_BYTES:
        raise Malformed(f"a CURVE key has {KEY_BYTES} bytes, not {len(binding.curve_key)}")
    signed = (binding.curve_key, binding.not_before_s, binding.epoch)
    verify(node_key, canonical(_BINDING, signed), binding.signature)
    if binding.not_before_s > now_s + CLOCK_SKEW_S:
        raise JoinRefused(
            f"a CURVE key is bound {binding.not_before_s - now_s} s in our future",
            hint="check the clock of both nodes",
        )


def check_authority(authority: Certificate, issuer: str, mesh: MeshId, mesh_key: bytes) -> None:
    """Check that a member was made an issuer by the mesh key itself.

    Raises:
        BadSignature: The issuer's certificate is forged or belongs to somebody else.
        JoinRefused: It is genuine but lacks the issuing role or comes from another member.
    """
    _check_shape(authority, mesh)
    if authority.node != issuer:
        raise BadSignature("the issuer's certificate is of another node")
    if authority.issuer != mesh:
        raise JoinRefused(f"issuer {_who(authority)} was not appointed by the mesh key")
    verify(mesh_key, certificate_bytes(authority), authority.signature)
    if Role.ISSUER not in authority.roles:
        raise JoinRefused(
            f"node {_who(authority)} does not hold the issuing role",
            hint="get the invite from a node that does",
        )


def _check_shape(certificate: Certificate, mesh: MeshId) -> None:
    if certificate.mesh != mesh:
        raise JoinRefused(
            f"the certificate is for mesh {show_id(certificate.mesh)}, this is {show_id(mesh)}",
            hint="use an invite of this mesh",
        )
    if certificate.node != key_id(certificate.node_key):
        raise BadSignature("a certificate's node id does not follow from its key")
    if not is_name(certificate.name) or len(certificate.zone) > _ZONE_LIMIT:
        raise Malformed("a certificate's name or zone is no short label")


def _check_issuer(
    credential: Credential, mesh: MeshId, mesh_key: bytes, revoked: Container[NodeId]
) -> None:
    certificate, authority = credential.certificate, credential.issuer
    if certificate.issuer == mesh:
        verify(mesh_key, certificate_bytes(certificate), certificate.signature)
        return
    if authority is None:
        raise BadSignature("a certificate comes without that of its issuer")
    check_authority(authority, certificate.issuer, mesh, mesh_key)
    verify(authority.node_key, certificate_bytes(certificate), certificate.signature)
    if authority.node in revoked:
        raise JoinRefused(f"issuer {_who(authority)} is revoked", hint=_ASK_RENEWAL)
    _check_grant(certificate.roles, authority.name)
    if certificate.issued_s < authority.issued_s or certificate.expires_s > authority.expires_s:
        raise JoinRefused(f"the certificate outlives that of its issuer {_who(authority)}")


def _check_grant(roles: tuple[Role, ...], issuer: str) -> None:
    for role in roles:
        if role in PRIVILEGED:
            raise JoinRefused(
                f"issuer {issuer} may not grant the role {role.value}",
                hint="only a node that holds the mesh key (its founder) can",
            )


def _check_dates(certificate: Certificate, now_s: int) -> None:
    if now_s >= certificate.expires_s:
        ago_s = now_s - certificate.expires_s
        raise JoinRefused(
            f"the certificate of {_who(certificate)} expired {ago_s} s ago", hint=_ASK_RENEWAL
        )
    if certificate.issued_s > now_s + CLOCK_SKEW_S:
        ahead_s = certificate.issued_s - now_s
        raise JoinRefused(
            f"the certificate of {_who(certificate)} starts {ahead_s} s in our future",
            hint="check the clock of both nodes",
        )


def _who(certificate: Certificate) -> str:
    return f"{certificate.name} ({show_id(certificate.node)})"
