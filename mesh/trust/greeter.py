"""Meeting members: knocking at doors that were heard of, answering those who knock at ours."""

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import BadSignature, JoinRefused, PeerError
from qallow_agent.base.ids import Entropy, NodeId, Sender, show_id
from qallow_agent.base.machine import Admit, Announce, Effect, Instant, Knock, Persist, Reply
from qallow_agent.base.message import Failure, Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.trust.acquaintances import Acquaintance, Acquaintances, known_name
from qallow_agent.mesh.trust.certificates import verify_credential
from qallow_agent.mesh.trust.contacts import check_contact, show_contact
from qallow_agent.mesh.trust.knocks import Candidate, Knocks
from qallow_agent.mesh.trust.papers import Papers, check_hello
from qallow_agent.mesh.trust.revocations import Revocations
from qallow_agent.mesh.wire.facts import MemberHeardOf, MemberMet
from qallow_agent.mesh.wire.kinds import Credential, Hello

KNOCKER: Sender = "@trust/"
"""Answers to our knocks come from this sender followed by the node we knocked at."""


class Greeter:
    """Verifies every Hello before a CURVE key is let in.

    Args:
        papers: Our keys and standing.
        known: Members met.
        revoked: Who may never come back.
        rng: Injected entropy for the pace of knocking.
    """

    def __init__(
        self, papers: Papers, known: Acquaintances, revoked: Revocations, rng: Entropy
    ) -> None:
        self._papers = papers
        self._known = known
        self._revoked = revoked
        self._knocks = Knocks(papers.settings, rng)

    def revisit(self, now: Instant) -> None:
        """Consider everyone met in earlier runs, and who let us in, as worth a knock."""
        sponsor = self._papers.standing.sponsor
        linked = self._known.linked()
        sponsors = () if sponsor is None else (sponsor,)
        for item in (*sponsors, *self._known.items()):
            if item.credential.certificate.node not in linked:
                self._consider(item.credential, item.contact, now)

    def hear(self, fact: MemberHeardOf, now: Instant) -> list[Effect]:
        """Consider a node that another room heard of.

        Raises:
            Malformed: The contact cannot be dialled.
        """
        if fact.node == self._papers.node or fact.node in self._revoked:
            return []
        check_contact(fact.contact)
        if self._known.is_linked_as(fact.node, fact.contact, fact.curve_key):
            return []
        self._knocks.hear(fact.node, fact.contact, fact.curve_key, now.mono_s)
        return self.knock(now)

    def knock(self, now: Instant) -> list[Effect]:
        """Knock wherever it is time to."""
        return [self._knock_at(candidate) for candidate in self._knocks.due(now.mono_s)]

    def next_deadline(self) -> Seconds | None:
        """Return when the next knock is due or overdue."""
        return self._knocks.next_deadline()

    def greet(self, sender: Sender, hello: Hello, now: Instant) -> list[Effect]:
        """Answer a member that knocks at our door.

        Raises:
            PeerError: It is no member, or not who it says; nothing changed.
        """
        certificate = hello.credential.certificate
        if certificate.node == self._papers.node:
            return self._recognise_clone(sender, hello)
        met = self._meet(hello, now)
        return [*met, Reply(sender, self._papers.hello(certificate.node, answer=True))]

    def take_answer(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what came of our own knock; what nobody waits for is ignored.

        Raises:
            PeerError: Whoever answered is not whom we knocked at.
        """
        candidate = self._knocks.pending(NodeId(sender.removeprefix(KNOCKER)))
        if candidate is None:
            return []
        if isinstance(message, Failure):
            self._knocks.fail(candidate.node, now.mono_s)
            return [_failure_notice(candidate, message)]
        if not isinstance(message, Hello):
            return []
        try:
            _check_answer(message, candidate)
            return self._meet(message, now)
        except PeerError:
            self._knocks.fail(candidate.node, now.mono_s)
            raise

    def greet_again(self, now: Instant) -> list[Effect]:
        """Show a fresh credential to everyone linked."""
        linked = self._known.linked()
        for item in self._known.items():
            if item.credential.certificate.node in linked:
                self._consider(item.credential, item.contact, now)
        return self.knock(now)

    def forget(self, node: NodeId) -> None:
        """Stop knocking at a node's door."""
        self._knocks.settle(node)

    def _consider(self, credential: Credential, contact: Contact, now: Instant) -> None:
        node = credential.certificate.node
        if node not in self._revoked:
            self._knocks.hear(node, contact, credential.binding.curve_key, now.mono_s)

    def _knock_at(self, candidate: Candidate) -> Knock:
        return Knock(
            candidate.contact,
            candidate.curve_key,
            self._papers.hello(candidate.node, answer=False),
            KNOCKER + candidate.node,
            self._papers.settings.knock_timeout_s,
        )

    def _meet(self, hello: Hello, now: Instant) -> list[Effect]:
        """Check a Hello and let its sender in."""
        papers, credential, contact = self._papers, hello.credential, hello.contact
        check_contact(contact)
        verify_credential(
            credential,
            mesh=papers.standing.mesh,
            mesh_key=papers.standing.mesh_key,
            now_s=now.wall_ns // 1_000_000_000,
            revoked=self._revoked,
        )
        check_hello(hello, papers.node)
        curve_key = credential.binding.curve_key
        if curve_key == papers.keys.curve.public:
            raise JoinRefused("another node shows our own CURVE key")
        node = credential.certificate.node
        item = Acquaintance(credential, contact)
        news = self._known.put(node, item)
        self._knocks.settle(node)
        effects: list[Effect] = []
        if news:
            effects.append(Persist(known_name(node), msgspec.msgpack.encode(item)))
            effects.append(_met_notice(item))
        effects.append(Admit(node, curve_key, contact))
        effects.append(Announce(MemberMet(credential, contact)))
        return effects

    def _recognise_clone(self, sender: Sender, hello: Hello) -> list[Effect]:
        """Refuse a node that bears our own identity, and name both boxes."""
        check_hello(hello, self._papers.node)
        mine = self._papers.standing.credential.binding
        theirs = hello.credential.binding
        why = "this is the node itself"
        effects: list[Effect] = []
        if theirs.epoch != mine.epoch or hello.contact != self._papers.contact:
            why = "two agents run with the same node key"
            facts: dict[str, str | int | float | bool | None] = {
                "node": self._papers.node,
                "here": show_contact(self._papers.contact),
                "there": show_contact(hello.contact),
                "epoch_here": mine.epoch,
                "epoch_there": theirs.epoch,
            }
            effects.append(
                Notice("trust.clone", "another agent runs with our node key", "error", facts)
            )
        hint = "give one of the two boxes a fresh state directory and join it again"
        return [*effects, Reply(sender, Failure(JoinRefused.code, why, hint))]


def _check_answer(hello: Hello, candidate: Candidate) -> None:
    node = candidate.node
    if hello.credential.certificate.node != node or not hello.answer:
        raise BadSignature(f"somebody else answered at the door of {show_id(node)}")
    if hello.credential.binding.curve_key != candidate.curve_key:
        raise BadSignature(f"node {show_id(node)} shows another CURVE key than its door")


def _failure_notice(candidate: Candidate, failure: Failure) -> Notice:
    refused = failure.code == JoinRefused.code
    return Notice(
        "trust.refused" if refused else "trust.unanswered",
        "a member refused us" if refused else "a knock was not answered",
        "warning" if refused else "debug",
        {
            "node": candidate.node,
            "contact": show_contact(candidate.contact),
            "why": failure.message,
            "hint": failure.hint,
        },
    )


def _met_notice(item: Acquaintance) -> Notice:
    certificate = item.credential.certificate
    return Notice(
        "trust.met",
        "a member showed a good credential",
        facts={
            "node": certificate.node,
            "name": certificate.name,
            "contact": show_contact(item.contact),
            "roles": ", ".join(role.value for role in certificate.roles),
        },
    )
