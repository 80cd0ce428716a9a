"""What an issuer does: gives out invites, redeems them, renews certificates."""

import difflib
import hashlib

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import JoinRefused, Malformed, UsageError, VersionMismatch
from qallow_agent.base.ids import Entropy, NodeId, key_id, show_id
from qallow_agent.base.keys import KEY_BYTES
from qallow_agent.base.machine import Effect, Instant, Persist, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import show_seconds
from qallow_agent.mesh.trust import invites
from qallow_agent.mesh.trust.acquaintances import Acquaintances
from qallow_agent.mesh.trust.certificates import (
    PRIVILEGED,
    Subject,
    check_binding,
    is_name,
    verify_credential,
)
from qallow_agent.mesh.trust.contacts import check_contact
from qallow_agent.mesh.trust.invites import Invitation, Invite, InviteBook, encode_invitation
from qallow_agent.mesh.trust.papers import Papers
from qallow_agent.mesh.trust.revocations import Revocations
from qallow_agent.mesh.trust.standing import subject_of
from qallow_agent.mesh.wire.kinds import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Credential,
    JoinRequest,
    JoinWelcome,
    Renew,
    Renewed,
    Role,
)

USES_LIMIT = 1000
_MIN_LIFE_S = 1.0


class Registrar:
    """Turns invites into members and keeps members' certificates fresh.

    Args:
        papers: Our keys and standing.
        book: Outstanding invites.
        known: Members met, for their CURVE keys.
        revoked: Who may never come back.
        rng: Injected entropy; only salts invite secrets, which our node key makes unguessable.
    """

    def __init__(
        self,
        papers: Papers,
        book: InviteBook,
        known: Acquaintances,
        revoked: Revocations,
        rng: Entropy,
    ) -> None:
        self._papers = papers
        self._book = book
        self._known = known
        self._revoked = revoked
        self._rng = rng

    def create_invite(
        self,
        *,
        roles: tuple[str, ...],
        zone: str,
        uses: int,
        lifetime_s: float,
        hosts: tuple[str, ...],
        now: Instant,
    ) -> tuple[str, list[Effect]]:
        """Return a fresh invite token, and what keeps it.

        Raises:
            NotAllowed: This node cannot issue.
            UsageError: A role, the uses, the lifetime, the zone or a host makes no sense.
        """
        granted = tuple(_role(role) for role in roles)
        self._check_request(granted, zone, uses, lifetime_s)
        contact = self._papers.contact
        if hosts:
            contact = msgspec.structs.replace(contact, hosts=hosts)
            _check_hosts(contact)
        secret = self._draw_secret(now)
        expires_s = _wall_s(now) + int(lifetime_s)
        self._book.create(secret, granted, zone, uses, expires_s)
        token = encode_invitation(
            Invitation(
                mesh=self._papers.standing.mesh,
                contact=contact,
                host=self._papers.node,
                host_key=self._papers.keys.curve.public,
                secret=secret,
                expires_s=expires_s,
            )
        )
        roles_text = ", ".join(role.value for role in granted)
        created = Notice(
            "trust.invited",
            "an invite was given out",
            facts={"roles": roles_text, "uses": uses, "lifetime_s": lifetime_s},
        )
        return token, [self._keep_book(), created]

    def join(self, request: JoinRequest, now: Instant) -> tuple[JoinWelcome, list[Effect]]:
        """Return the welcome for a stranger that shows a good invite, and what keeps its use.

        Raises:
            JoinRefused: The invite or the node is not acceptable; the message says why.
            VersionMismatch: It speaks no protocol of ours.
            BadSignature: Its CURVE key is not bound by its node key.
            Malformed: A field has an impossible shape.
            NotAllowed: This node cannot issue any more.
        """
        now_s = _wall_s(now)
        node = NodeId(key_id(request.node_key))
        self._book.find(request.secret, node, now_s)
        self._papers.signer()
        self._check_stranger(request, node, now_s)
        invite = self._book.redeem(request.secret, node, now_s)
        subject = Subject(
            request.node_key, request.name, invite.roles, invite.zone, request.protocol
        )
        life_s = self._papers.settings.certificate_life_s
        certificate, authority = self._papers.grant(subject, now_s, life_s)
        standing = self._papers.standing
        welcome = JoinWelcome(
            credential=Credential(certificate, request.binding, authority),
            mesh_name=standing.mesh_name,
            mesh_key=standing.mesh_key,
            keyring=standing.keyring,
            host=standing.credential,
            contact=self._papers.contact,
        )
        joined = Notice(
            "trust.joined",
            "a node joined the mesh with an invite",
            facts={"node": node, "name": request.name, "uses_left": invite.uses_left},
        )
        return welcome, [self._keep_book(), joined]

    def renew(self, sender: NodeId, request: Renew, now: Instant) -> list[Effect]:
        """Return the fresh certificate for a member that shows its own.

        Raises:
            PeerError: The credential is not its own or not good.
            NotAllowed: This node cannot issue.
        """
        now_s = _wall_s(now)
        standing = self._papers.standing
        old = request.credential.certificate
        if old.node != sender:
            raise JoinRefused(f"node {show_id(sender)} asks to renew another's certificate")
        verify_credential(
            request.credential,
            mesh=standing.mesh,
            mesh_key=standing.mesh_key,
            now_s=now_s,
            revoked=self._revoked,
        )
        life_s = self._papers.settings.certificate_life_s
        certificate, _ = self._papers.grant(subject_of(old), now_s, life_s)
        return [
            Send(sender, Renewed(certificate)),
            Notice("trust.renewed", "a member was renewed", "debug", {"node": sender}),
        ]

    def prune(self, now_s: int) -> list[Effect]:
        """Forget invites that ended long ago."""
        return [self._keep_book()] if self._book.prune(now_s) else []

    def outstanding(self) -> tuple[Invite, ...]:
        """Return every remembered invite, soonest to end first."""
        return self._book.outstanding()

    def _check_stranger(self, request: JoinRequest, node: NodeId, now_s: int) -> None:
        low, high = request.protocol
        if high < OLDEST_PROTOCOL or low > PROTOCOL:
            older = "the joining node" if high < OLDEST_PROTOCOL else "the host"
            raise VersionMismatch(
                f"the joining node speaks protocol {low} to {high}, "
                f"the host {OLDEST_PROTOCOL} to {PROTOCOL}",
                hint=f"upgrade qallow-agent on {older}",
            )
        if len(request.node_key) != KEY_BYTES or not is_name(request.name):
            raise Malformed("a joining node's key or name has the wrong shape")
        check_contact(request.contact)
        check_binding(request.binding, request.node_key, now_s)
        if node == self._papers.node:
            raise JoinRefused(
                "the joining node has the host's own node key",
                hint="its state directory was copied; give it a fresh one",
            )
        if node in self._revoked:
            raise JoinRefused(f"node {show_id(node)} is revoked", hint="it needs a new node key")
        if request.binding.curve_key == self._papers.keys.curve.public:
            raise JoinRefused("the joining node has the host's own CURVE key")
        self._known.check_curve_key(node, request.binding.curve_key)

    def _check_request(
        self, roles: tuple[Role, ...], zone: str, uses: int, lifetime_s: float
    ) -> None:
        _, authority = self._papers.signer()
        if not roles:
            raise UsageError("an invite needs at least one role")
        if authority is not None and any(role in PRIVILEGED for role in roles):
            raise UsageError(
                "only a node that holds the mesh key may invite issuers, owners and operators",
                hint="run the command on the mesh's founder",
            )
        if not is_name(zone):
            raise UsageError(f"{zone[:80]!r} cannot be a zone", hint="letters, digits and dashes")
        if not 1 <= uses <= USES_LIMIT:
            raise UsageError(f"{uses} uses make no sense", hint=f"1 to {USES_LIMIT}")
        longest_s = self._papers.settings.invite_life_max_s
        if not _MIN_LIFE_S <= lifetime_s <= longest_s:
            raise UsageError(
                f"an invite cannot live for {show_seconds(lifetime_s)}",
                hint=f"1 s to {show_seconds(longest_s)}",
            )

    def _draw_secret(self, now: Instant) -> bytes:
        salt = self._rng.getrandbits(256).to_bytes(32) + now.wall_ns.to_bytes(16)
        return hashlib.blake2b(
            salt,
            digest_size=invites.SECRET_BYTES,
            key=self._papers.keys.identity.seed,
            person=b"qallow-invite",
        ).digest()

    def _keep_book(self) -> Persist:
        return Persist(invites.NAME, self._book.encode())


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        names = [role.value for role in Role]
        near = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names)}"
        raise UsageError(f"{text[:40]!r} is no role", hint=hint) from error


def _check_hosts(contact: Contact) -> None:
    try:
        check_contact(contact)
    except Malformed as error:
        raise UsageError(error.message, hint="give plain host names or IP addresses") from error


def _wall_s(now: Instant) -> int:
    return now.wall_ns // 1_000_000_000
