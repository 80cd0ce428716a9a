"""A node's standing: everything it holds as a member, and how it comes by it.

Founding and joining happen before a Node exists; the shell carries one knock between
:func:`join_request` and :func:`accept_welcome`.
"""

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import (
    BadSignature,
    ConfigError,
    JoinRefused,
    Malformed,
    StorageCorrupt,
)
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.keys import KEY_BYTES, NodeKeys
from qallow_agent.mesh.trust.certificates import (
    Subject,
    bind_curve,
    is_name,
    issue,
    verify_credential,
)
from qallow_agent.mesh.trust.contacts import check_contact
from qallow_agent.mesh.trust.invites import Invitation
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.wire.kinds import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Certificate,
    Credential,
    JoinRequest,
    JoinWelcome,
    Role,
)

NAME = "trust/standing"
FOUNDER_ROLES = (
    Role.WORKER,
    Role.SUBMITTER,
    Role.VALIDATOR,
    Role.ISSUER,
    Role.OWNER,
    Role.OPERATOR,
)
_KEYRING_LIMIT = 8


class Introduction(msgspec.Struct, frozen=True):
    """A member and where it was: whom to meet first."""

    credential: Credential
    contact: Contact


class Standing(msgspec.Struct, frozen=True):
    """What membership consists of.

    Args:
        mesh: Id of the mesh.
        mesh_name: Its label.
        mesh_key: Its public Ed25519 key.
        keyring: Secrets of the datagram lane, newest first.
        credential: Our own.
        sponsor: The node that let us in; None for the founder.
    """

    mesh: MeshId
    mesh_name: str
    mesh_key: bytes
    keyring: tuple[bytes, ...]
    credential: Credential
    sponsor: Introduction | None = None

    @property
    def node(self) -> NodeId:
        """Our node id."""
        return self.credential.certificate.node

    @property
    def certificate(self) -> Certificate:
        """Our certificate."""
        return self.credential.certificate


def encode_standing(standing: Standing) -> bytes:
    """Return the bytes to keep under ``trust/standing``; they hold secrets (0600)."""
    return msgspec.msgpack.encode(standing)


def decode_standing(data: bytes) -> Standing:
    """Return the standing that kept bytes hold.

    Raises:
        StorageCorrupt: The bytes do not decode; names the file.
    """
    try:
        return msgspec.msgpack.decode(data, type=Standing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}",
            hint="restore it from a backup, or delete it and join again with a new invite",
        ) from error


def found_mesh(
    keys: NodeKeys,
    name: str,
    mesh_name: str,
    keyring_secret: bytes,
    epoch: int,
    now_s: int,
    settings: TrustSettings,
) -> Standing:
    """Return the standing of a mesh's first node; its keys must include the mesh key.

    Raises:
        ConfigError: The mesh key is missing, or a name or secret has the wrong shape.
    """
    if keys.mesh is None:
        raise ConfigError("founding a mesh needs its key")
    if len(keyring_secret) != KEY_BYTES:
        raise ConfigError(f"a keyring secret has {KEY_BYTES} bytes, not {len(keyring_secret)}")
    _check_names(name, mesh_name)
    mesh = MeshId(keys.mesh.id)
    certificate = issue(
        keys.mesh,
        Subject(keys.identity.public, name, FOUNDER_ROLES),
        mesh=mesh,
        now_s=now_s,
        lifetime_s=settings.certificate_life_s,
    )
    binding = bind_curve(keys.identity, keys.curve.public, epoch, now_s)
    credential = Credential(certificate, binding)
    return Standing(mesh, mesh_name, keys.mesh.public, (keyring_secret,), credential)


def rebind(standing: Standing, keys: NodeKeys, epoch: int, now_s: int) -> Standing:
    """Return the standing for a new boot: its CURVE key bound anew under the new epoch.

    A holder of the mesh key whose certificate is past half of its life renews it here, so that a
    founder that slept too long wakes up as a member.

    Raises:
        ConfigError: The keys are not those the standing was issued for.
    """
    certificate = standing.certificate
    if keys.identity.public != certificate.node_key:
        raise ConfigError(
            f"{NAME} belongs to another node key",
            hint="restore the key file that was there, or delete the standing and join again",
        )
    issuer = standing.credential.issuer
    if keys.mesh is not None and keys.mesh.public == standing.mesh_key and due(certificate, now_s):
        certificate, issuer = reissue(certificate, keys, now_s), None
    binding = bind_curve(keys.identity, keys.curve.public, epoch, now_s)
    credential = Credential(certificate, binding, issuer)
    return msgspec.structs.replace(standing, credential=credential)


def due(certificate: Certificate, now_s: int) -> bool:
    """Return whether half of a certificate's life is over."""
    return now_s >= (certificate.issued_s + certificate.expires_s) // 2


def reissue(certificate: Certificate, keys: NodeKeys, now_s: int) -> Certificate:
    """Return a certificate of the same content and length of life, signed anew by the mesh key.

    Raises:
        ConfigError: The mesh key is not among the keys.
    """
    if keys.mesh is None:
        raise ConfigError("renewing without an issuer needs the mesh key")
    return issue(
        keys.mesh,
        subject_of(certificate),
        mesh=certificate.mesh,
        now_s=now_s,
        lifetime_s=certificate.expires_s - certificate.issued_s,
    )


def subject_of(certificate: Certificate) -> Subject:
    """Return whom a certificate is about, to issue another like it."""
    return Subject(
        certificate.node_key,
        certificate.name,
        certificate.roles,
        certificate.zone,
        certificate.protocol,
    )


def join_request(
    invitation: Invitation, keys: NodeKeys, name: str, contact: Contact, epoch: int, now_s: int
) -> JoinRequest:
    """Return what to say at the host's door.

    Raises:
        ConfigError: The name cannot name a node.
        JoinRefused: The invite has expired by our clock.
    """
    _check_names(name, name)
    if now_s >= invitation.expires_s:
        raise JoinRefused(
            f"the invite expired {now_s - invitation.expires_s} s ago",
            hint="ask for a new one: qallow-agent invite (or check this node's clock)",
        )
    return JoinRequest(
        secret=invitation.secret,
        node_key=keys.identity.public,
        name=name,
        protocol=(OLDEST_PROTOCOL, PROTOCOL),
        binding=bind_curve(keys.identity, keys.curve.public, epoch, now_s),
        contact=contact,
    )


def accept_welcome(
    welcome: JoinWelcome, invitation: Invitation, keys: NodeKeys, now_s: int
) -> Standing:
    """Return our standing after checking that the welcome is genuine and meant for us.

    Raises:
        BadSignature: The welcome comes from another host or mesh than the invite names, or
            something in it is forged.
        Malformed: A field has an impossible shape.
        JoinRefused: It is genuine, but not good here and now.
    """
    mesh = invitation.mesh
    host, mine = welcome.host, welcome.credential
    if key_id(welcome.mesh_key) != mesh:
        raise BadSignature("the welcome comes from another mesh than the invite")
    named = (invitation.host, invitation.host_key)
    if (host.certificate.node, host.binding.curve_key) != named:
        raise BadSignature("the welcome comes from another host than the invite")
    for credential in (host, mine):
        verify_credential(credential, mesh=mesh, mesh_key=welcome.mesh_key, now_s=now_s, revoked=())
    if mine.certificate.node_key != keys.identity.public:
        raise BadSignature("the welcome holds the certificate of another node")
    if mine.binding.curve_key != keys.curve.public:
        raise BadSignature("the welcome binds another CURVE key than ours")
    if not 1 <= len(welcome.keyring) <= _KEYRING_LIMIT or any(
        len(secret) != KEY_BYTES for secret in welcome.keyring
    ):
        raise BadSignature("the welcome holds no usable keyring")
    if not is_name(welcome.mesh_name):
        raise Malformed("the welcome's mesh name is no short label")
    check_contact(welcome.contact)
    sponsor = Introduction(host, welcome.contact)
    return Standing(mesh, welcome.mesh_name, welcome.mesh_key, welcome.keyring, mine, sponsor)


def _check_names(name: str, mesh_name: str) -> None:
    for text in (name, mesh_name):
        if not is_name(text):
            raise ConfigError(
                f"{text[:80]!r} cannot be a name",
                hint="1 to 63 letters, digits, dots, dashes and underscores",
            )
