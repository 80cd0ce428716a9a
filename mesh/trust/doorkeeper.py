"""The doorkeeper: who gets in, who stays, who is out. The machine of the trust room."""

from collections.abc import Mapping

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import (
    InvariantBroken,
    JoinRefused,
    NotAllowed,
    PeerError,
)
from qallow_agent.base.ids import Entropy, NodeId, Sender
from qallow_agent.base.keys import NodeKeys
from qallow_agent.base.machine import (
    Effect,
    Instant,
    Persist,
    Reply,
    soonest,
)
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.trust import invites, revocations, standing
from qallow_agent.mesh.trust.acquaintances import Acquaintances, decode_known, known_name
from qallow_agent.mesh.trust.expulsion import Expulsion
from qallow_agent.mesh.trust.greeter import KNOCKER, Greeter
from qallow_agent.mesh.trust.invites import Invite, InviteBook, decode_invites
from qallow_agent.mesh.trust.papers import Papers
from qallow_agent.mesh.trust.registrar import Registrar
from qallow_agent.mesh.trust.renewal import Renewal
from qallow_agent.mesh.trust.revocations import Revocations, decode_revocations
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import Standing, encode_standing
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Credential,
    Hello,
    JoinRequest,
    Renew,
    Renewed,
    Revoked,
    Role,
)

_DOOR: Sender = "@door/"


class Doorkeeper:
    """Admits members, redeems invites, renews and revokes.

    Args:
        keys: This node's keys; with the mesh key on its founder.
        standing: Its standing, bound to this boot.
        contact: Where it can be reached.
        settings: The room's settings.
        rng: Injected entropy.
        kept: Everything kept under ``trust/``.

    Raises:
        StorageCorrupt: Kept bytes do not decode; names the file.
    """

    def __init__(
        self,
        *,
        keys: NodeKeys,
        standing: Standing,
        contact: Contact,
        settings: TrustSettings,
        rng: Entropy,
        kept: Mapping[str, bytes],
    ) -> None:
        self._papers = Papers(keys, standing, contact, settings)
        self._settings = settings
        self._known = Acquaintances(decode_known(kept), settings.known_max)
        self._revoked = Revocations(
            decode_revocations(kept.get(revocations.NAME)), settings.revocations_max
        )
        book = InviteBook(decode_invites(kept.get(invites.NAME)), settings.invites_max)
        self._registrar = Registrar(self._papers, book, self._known, self._revoked, rng)
        self._greeter = Greeter(self._papers, self._known, self._revoked, rng)
        self._expulsion = Expulsion(self._papers, self._known, self._revoked, self._greeter)
        self._renewal = Renewal(self._papers, self._known)
        self._sweep_at_s: Seconds = 0.0
        self._awake = False

    # --- what others ask ------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """Our standing; replaced when our certificate is renewed."""
        return self._papers.standing

    def credential_of(self, node: NodeId) -> Credential | None:
        """Return the verified credential of a member, ours included; None for strangers."""
        if node == self._papers.node:
            return self.standing.credential
        item = self._known.get(node)
        return item.credential if item is not None else None

    def roles_of(self, node: NodeId) -> tuple[Role, ...]:
        """Return what a member may do; nothing for strangers and revoked nodes."""
        credential = self.credential_of(node)
        if credential is None or node in self._revoked:
            return ()
        return credential.certificate.roles

    def is_revoked(self, node: NodeId) -> bool:
        """Return whether a node's membership was ended for ever."""
        return node in self._revoked

    def outstanding_invites(self) -> tuple[Invite, ...]:
        """Return every remembered invite, soonest to end first."""
        return self._registrar.outstanding()

    # --- the Machine interface ------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in a knock, an answer, a request of a member or a fact of another room.

        What a peer says wrong never raises: it is answered at the door, noted elsewhere.
        """
        try:
            return self._take(sender, message, now)
        except (PeerError, NotAllowed) as error:
            if sender.startswith(_DOOR):
                answer = Failure(error.code, error.message, error.hint, error.retryable)
                return [Reply(sender, answer), _refusal(sender, error)]
            return [_refusal(sender, error)]

    def tick(self, now: Instant) -> list[Effect]:
        """Knock where it is due; look at expiry and renewal every so often."""
        effects: list[Effect] = []
        if not self._awake:
            effects += self._awaken(now)
        if now.mono_s >= self._sweep_at_s:
            effects += self._sweep(now)
        return [*effects, *self._greeter.knock(now)]

    def next_deadline(self) -> Seconds | None:
        """Return when a knock or the next sweep is due."""
        return soonest(self._sweep_at_s, self._greeter.next_deadline())

    def check(self) -> None:
        """Check that no revoked node and not ourselves are among the members.

        Raises:
            InvariantBroken: One of them is.
        """
        for node in self._known.nodes():
            if node in self._revoked or node == self._papers.node:
                raise InvariantBroken(f"{node} must not be an acquaintance")

    # --- commands -------------------------------------------------------------------------------

    def create_invite(
        self,
        *,
        roles: tuple[str, ...],
        zone: str,
        uses: int,
        lifetime_s: float,
        hosts: tuple[str, ...] = (),
        now: Instant,
    ) -> tuple[str, list[Effect]]:
        """Return a fresh invite token, and what keeps it.

        Raises:
            NotAllowed: This node cannot issue.
            UsageError: A role, the uses, the lifetime, the zone or a host makes no sense.
        """
        return self._registrar.create_invite(
            roles=roles, zone=zone, uses=uses, lifetime_s=lifetime_s, hosts=hosts, now=now
        )

    def revoke(self, node: NodeId, reason: str, now: Instant) -> list[Effect]:
        """End a node's membership for ever, here and by gossip everywhere; idempotent.

        Raises:
            NotAllowed: This node cannot issue, hence not revoke.
            UsageError: That is no node id, or our own.
        """
        return self._expulsion.revoke(node, reason, now)

    def forget(self) -> list[Effect]:
        """Forget the mesh: certificate, members, invites and revocations."""
        known = [Persist(known_name(node), None) for node in self._known.nodes()]
        names = (standing.NAME, invites.NAME, revocations.NAME)
        return [*known, *(Persist(name, None) for name in names)]

    # --- how it is done -------------------------------------------------------------------------

    def _take(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        if sender.startswith(_DOOR):
            return self._take_at_door(sender, message, now)
        if sender.startswith(KNOCKER):
            return self._greeter.take_answer(sender, message, now)
        if sender == self._papers.node:
            return self._take_fact(message, now)
        node = NodeId(sender)
        if self._known.get(node) is None:
            return []
        return self._take_from_member(node, message, now)

    def _take_at_door(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        match message:
            case JoinRequest():
                welcome, effects = self._registrar.join(message, now)
                return [*effects, Reply(sender, welcome)]
            case Hello():
                return self._greeter.greet(sender, message, now)
        return []

    def _take_fact(self, message: Message, now: Instant) -> list[Effect]:
        match message:
            case MemberHeardOf():
                return self._greeter.hear(message, now)
            case MemberUp():
                self._known.set_linked(message.record.node, up=True)
                return self._expulsion.tell(message.record.node)
            case MemberDown():
                self._known.set_linked(message.node, up=False)
        return []

    def _take_from_member(self, node: NodeId, message: Message, now: Instant) -> list[Effect]:
        match message:
            case Renew():
                return self._registrar.renew(node, message, now)
            case Renewed() if self._renewal.take(node, message, self._revoked, now):
                return self._show_renewed(now)
            case Revoked():
                return self._expulsion.take(message.revocations)
        return []

    def _awaken(self, now: Instant) -> list[Effect]:
        """Write down our standing, keep the revoked out, and revisit whom we know."""
        self._awake = True
        self._greeter.revisit(now)
        keep = Persist(standing.NAME, encode_standing(self.standing))
        return [keep, *self._expulsion.bans()]

    def _sweep(self, now: Instant) -> list[Effect]:
        """Let expired members go, forget old invites, renew our own certificate."""
        now_s = _wall_s(now)
        self._sweep_at_s = now.mono_s + self._settings.sweep_s
        effects = [*self._expulsion.expire(now_s), *self._registrar.prune(now_s)]
        renewed, asked = self._renewal.sweep(now)
        effects += asked
        return [*effects, *self._show_renewed(now)] if renewed else effects

    def _show_renewed(self, now: Instant) -> list[Effect]:
        keep = Persist(standing.NAME, encode_standing(self.standing))
        return [keep, *self._greeter.greet_again(now)]


def _refusal(sender: Sender, error: PeerError | NotAllowed) -> Notice:
    refused = isinstance(error, JoinRefused)
    return Notice(
        "trust.refusal",
        "somebody was refused",
        "info" if refused else "warning",
        {"sender": sender, "code": error.code, "why": error.message},
    )


def _wall_s(now: Instant) -> int:
    return now.wall_ns // 1_000_000_000
