"""Invites: one line that lets a box in, and the book of those that are outstanding.

The token carries a bearer secret; the book keeps only its hash. An invite is bound to the host's
CURVE key, so there is no trust on first use.
"""

import base64
import hashlib
import re

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, Malformed, StorageCorrupt, UsageError
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import KEY_BYTES
from qallow_agent.mesh.trust.contacts import check_contact
from qallow_agent.mesh.wire.identity import is_identity
from qallow_agent.mesh.wire.kinds import Role

PREFIX = "qj1-"
SECRET_BYTES = 16
"""128 bits: beyond guessing, so a plain hash protects it at rest."""
NAME = "trust/invites"

_CHECK_BYTES = 5
_TOKEN_LIMIT = 4096
_BLOCK = 8
"""Base32 works in blocks of eight characters."""
_ALPHABET = re.compile("[^a-z2-7]", re.ASCII)
_FORGET_S = 86_400
"""Ended invites are remembered for a day, so that latecomers hear *why* they are refused."""
_COPY_AGAIN = "copy the whole line that `qallow-agent invite` printed"
_NEW_INVITE = "ask for a new one: qallow-agent invite"


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """What a token says: which mesh, where and with whom to knock, the secret, the expiry.

    Args:
        mesh: Id of the mesh; the welcome must prove it.
        contact: Where the host listens.
        host: Node id of the host.
        host_key: CURVE public key of the host's door.
        secret: Bearer secret.
        expires_s: Wall clock second after which the host refuses it.
    """

    mesh: MeshId
    contact: Contact
    host: NodeId
    host_key: bytes
    secret: bytes
    expires_s: int


_DECODER = msgspec.msgpack.Decoder(Invitation)


def encode_invitation(invitation: Invitation) -> str:
    """Return the token: ``qj1-`` and lower-case base32 of the invitation and a checksum."""
    body = msgspec.msgpack.encode(invitation)
    text = base64.b32encode(body + _checksum(body)).decode().lower().rstrip("=")
    return PREFIX + text


def decode_invitation(token: str) -> Invitation:
    """Return what a token says; blanks and line breaks from copying are forgiven.

    Raises:
        UsageError: The token is mangled; the message says how.
    """
    if len(token) > _TOKEN_LIMIT:
        raise UsageError(f"an invite of {len(token)} characters is too long", hint=_COPY_AGAIN)
    text = "".join(token.split()).lower()
    if not text.startswith(PREFIX):
        raise UsageError(_wrong_start(text), hint=_COPY_AGAIN)
    text = text.removeprefix(PREFIX)
    wrong = _ALPHABET.search(text)
    if wrong is not None:
        place = wrong.start() + len(PREFIX) + 1
        raise UsageError(
            f"the invite has a character that does not belong, {wrong.group()!r} at place {place}",
            hint=_COPY_AGAIN,
        )
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % _BLOCK))
    except ValueError as error:
        raise UsageError("the invite is cut off", hint=_COPY_AGAIN) from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if _checksum(body) != check:
        raise UsageError(
            "the invite's checksum is wrong: it is cut off or a character was changed",
            hint=_COPY_AGAIN,
        )
    try:
        invitation = _DECODER.decode(body)
        check_contact(invitation.contact)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Malformed) as error:
        raise UsageError(f"the invite does not decode: {error}", hint=_COPY_AGAIN) from error
    if len(invitation.host_key) != KEY_BYTES or not is_identity(invitation.host):
        raise UsageError("the invite names no host with a key", hint=_COPY_AGAIN)
    return invitation


def _wrong_start(text: str) -> str:
    if re.match(r"qj[0-9]+-", text):
        return "the invite was made by another version of qallow-agent"
    return f"an invite starts with {PREFIX!r}, not {text[: len(PREFIX)]!r}"


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + body).digest()[:_CHECK_BYTES]


class Invite(msgspec.Struct, frozen=True):
    """One outstanding invite as its host remembers it; the secret itself is not kept.

    ``redeemed`` lists who used it, so that a joiner whose welcome was lost may ask again.
    """

    hash: bytes
    roles: tuple[Role, ...]
    zone: str
    uses: int
    expires_s: int
    redeemed: tuple[NodeId, ...] = ()

    @property
    def uses_left(self) -> int:
        """How many more nodes it lets in."""
        return self.uses - len(self.redeemed)


class InviteBook:
    """Every invite this host gave out and that did not end a day ago.

    Args:
        invites: What was kept, from :func:`decode_invites`.
        limit: Most invites at once.
    """

    def __init__(self, invites: tuple[Invite, ...], limit: int) -> None:
        self._invites = {invite.hash: invite for invite in invites}
        self._limit = limit

    def create(
        self, secret: bytes, roles: tuple[Role, ...], zone: str, uses: int, expires_s: int
    ) -> Invite:
        """Enter a new invite.

        Raises:
            UsageError: Too many are outstanding.
        """
        if len(self._invites) >= self._limit:
            raise UsageError(
                f"{self._limit} invites are outstanding",
                hint="wait until some expire, or raise mesh.trust.invites_max",
            )
        invite = Invite(secret_hash(secret), roles, zone, uses, expires_s)
        self._invites[invite.hash] = invite
        return invite

    def find(self, secret: bytes, node: NodeId, now_s: int) -> Invite:
        """Return the invite that a secret opens for a node.

        Raises:
            JoinRefused: Unknown, expired or used up.
        """
        invite = self._invites.get(secret_hash(secret))
        if invite is None:
            raise JoinRefused("this node never gave out that invite", hint=_NEW_INVITE)
        if now_s >= invite.expires_s:
            ago_s = now_s - invite.expires_s
            raise JoinRefused(f"the invite expired {ago_s} s ago", hint=_NEW_INVITE)
        if node not in invite.redeemed and invite.uses_left <= 0:
            raise JoinRefused(
                f"the invite was for {invite.uses} node(s) and is used up", hint=_NEW_INVITE
            )
        return invite

    def redeem(self, secret: bytes, node: NodeId, now_s: int) -> Invite:
        """Use an invite once for a node; the same node may repeat it for free.

        Raises:
            JoinRefused: Unknown, expired or used up; the book is unchanged.
        """
        invite = self.find(secret, node, now_s)
        if node in invite.redeemed:
            return invite
        used = msgspec.structs.replace(invite, redeemed=(*invite.redeemed, node))
        self._invites[invite.hash] = used
        return used

    def prune(self, now_s: int) -> bool:
        """Forget invites that ended a day ago; return whether there were any."""
        kept = {
            digest: invite
            for digest, invite in self._invites.items()
            if now_s < invite.expires_s + _FORGET_S
        }
        pruned = len(kept) < len(self._invites)
        self._invites = kept
        return pruned

    def outstanding(self) -> tuple[Invite, ...]:
        """Return every remembered invite, soonest to end first."""
        ordered = sorted(self._invites.values(), key=lambda invite: (invite.expires_s, invite.hash))
        return tuple(ordered)

    def encode(self) -> bytes:
        """Return the bytes to keep under ``trust/invites``."""
        return msgspec.msgpack.encode(self.outstanding())


def decode_invites(data: bytes | None) -> tuple[Invite, ...]:
    """Return the invites that kept bytes hold; none for None.

    Raises:
        StorageCorrupt: The bytes do not decode; names the file.
    """
    if data is None:
        return ()
    try:
        return msgspec.msgpack.decode(data, type=tuple[Invite, ...])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}", hint="delete it; outstanding invites are lost"
        ) from error


def secret_hash(secret: bytes) -> bytes:
    """Return what the book keeps of a secret."""
    return hashlib.sha256(b"qallow/invite/v1\x00" + secret).digest()
