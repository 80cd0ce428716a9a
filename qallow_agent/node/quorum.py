"""The hallway of coherence: carries members and forks to the council, and shows how far it is."""

from collections.abc import Mapping
from typing import Any

from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.machine import Effect, Instant
from qallow_agent.ethics.audits import WINDOW
from qallow_agent.ethics.evidence import MILLION, Item
from qallow_agent.ledger import health
from qallow_agent.ledger.bodies import committee_body, fork_body, objection_body
from qallow_agent.ledger.forks import Fork
from qallow_agent.ledger.kinds import (
    Assent,
    CommitteeChanged,
    DecisionBatch,
    ForkDetected,
    Judged,
    Objected,
    Objection,
)
from qallow_agent.ledger.leaf import LeafKind
from qallow_agent.mesh.wire.facts import MemberDown, MemberUp
from qallow_agent.mesh.wire.gate import GateReport
from qallow_agent.node.rooms import Rooms, Self

_SHARED = ("h1", "h3", "h4")
_IN_HARMONY = 900
"""Thousandths from which a signal of harmony counts as fine."""

JUDGING = (DecisionBatch, Assent, Objection)
"""What validators and those they judge say."""


class Coherence:
    """Tells the council who comes and goes, and logs what it decided.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        rooms.observer.shares = self._shares
        rooms.observer.clause = self._clause
        rooms.observer.audits = self._audits
        rooms.observer.policy = lambda: rooms.charter.digest

    def _clause(self) -> tuple[int, tuple[str, ...]]:
        said = self._rooms.charter.holds.mesh.committee
        return said.size, said.members

    def _shares(self, _: Instant) -> tuple[int, int, int]:
        reports = {
            node: tuple(device.gate for device in advert.devices if device.gate is not None)
            for node, advert in self._rooms.adverts.snapshot().items()
        }
        return in_harmony(self._rooms.observer.members(), reports)

    def _audits(self) -> tuple[int, int]:
        found = self._rooms.audits.book.mesh()
        return found.audits, found.entropy

    def member_up(self, _: Sender, fact: MemberUp, now: Instant) -> list[Effect]:
        """Bring a member that came up to what holds."""
        self._rooms.observer.note()
        self._rooms.mirror.member_changed(now)
        return self._rooms.council.member_up(fact.record.node, now)

    def member_down(self, _: Sender, _fact: MemberDown, now: Instant) -> list[Effect]:
        """Note that a member is gone."""
        self._rooms.observer.note()
        self._rooms.mirror.member_changed(now)
        return self._rooms.council.member_down(now)

    def committee_changed(
        self, sender: Sender, fact: CommitteeChanged, now: Instant
    ) -> list[Effect]:
        """Log which committee certifies from now on, then show it our head."""
        held = self._rooms.council.committee.manifest
        if held is None:
            return []
        body = committee_body(fact.version, held.digest())
        logged = self._rooms.ledger.write(LeafKind.MEMBERSHIP, body, now, at_once=True)
        return [*logged, *self._rooms.council.receive(sender, fact, now)]

    def objected(self, _: Sender, fact: Objected, now: Instant) -> list[Effect]:
        """Log what this node objects to, so that its author cannot hide it."""
        return self._object(fact.objection, now)

    def judged(self, _: Sender, fact: Judged, now: Instant) -> list[Effect]:
        """Log what validators object to in this node's decisions."""
        return [effect for each in fact.objections for effect in self._object(each, now)]

    def _object(self, objection: Objection, now: Instant) -> list[Effect]:
        body = objection_body(objection)
        return self._rooms.ledger.write(LeafKind.OBJECTION, body, now, at_once=True)

    def forked(self, _: Sender, fact: ForkDetected, now: Instant) -> list[Effect]:
        """Log that a node showed two histories, and take our work away from it."""
        body = fork_body(fact.origin, fact.why)
        logged = self._rooms.ledger.write(LeafKind.OBJECTION, body, now, at_once=True)
        return [*logged, *self._rooms.desk.member_down(fact.node, now)]


def in_harmony(
    members: tuple[NodeId, ...], reports: Mapping[NodeId, tuple[GateReport, ...]]
) -> tuple[int, int, int]:
    """Return how many members are in harmony by clock, policy and view, as adverts tell.

    A report names the one signal that a device's harmony is no greater for; whoever has no device
    that is judged, or has told nothing yet, counts as in harmony.
    """
    low = {
        node: {each.culprits[2] for each in reports.get(node, ()) if each.h < _IN_HARMONY}
        for node in members
    }
    clock, policy, view = (sum(signal not in low[node] for node in members) for signal in _SHARED)
    return clock, policy, view


def ledger_items(rooms: Rooms, now: Instant) -> tuple[Item, ...]:
    """Return the evidence about this node's own log: 0 when more than may lie refuse it."""
    refused = rooms.council.certifier.refused_by
    why = f"{refused} members refuse its log" if refused else ""
    value = 0 if refused else MILLION
    time_ms = now.wall_ns // 1_000_000
    return (Item("h5", value, "flag", time_ms, "witnesses", why=why),)


def ledger_document(rooms: Rooms) -> dict[str, Any]:
    """Return how far this node's log is certified, and by whom; JSON-shaped."""
    progress = rooms.council.certifier.progress
    held = rooms.council.committee.manifest
    copies = {"mirrors": rooms.mirror.kept, "mirrored_by": rooms.mirror.vouched}
    return (
        health.describe(rooms.ledger)
        | copies
        | {
            "head": progress.head,
            "certified": progress.certified,
            "provisional": progress.provisional,
            "certified_by": progress.by,
            "took_s": progress.took_s,
            "committee": progress.members,
            "version": held.version if held else 0,
            "standing": held.quorum.standing if held else "no committee yet",
            "forked": [fork.card.node for fork in rooms.council.forks.all()],
        }
    )


def coherence_document(rooms: Rooms, now: Instant) -> dict[str, Any]:
    """Return how coherent the mesh is as this node sees it; entropies and shares in millionths."""
    members = max(1, len(rooms.observer.members()))
    shares = [count * MILLION // members for count in rooms.observer.shares(now)]
    found = rooms.audits.book.mesh(shares)
    text = f"not enough evidence: {found.audits:,} of {WINDOW:,} audits"
    if found.enough:
        text = f"mesh entropy {found.mesh_entropy / MILLION:.6f}"
    return {
        "audits": found.audits,
        "enough": found.enough,
        "mesh_entropy": found.mesh_entropy if found.enough else None,
        "ordered": found.ordered,
        "coherence": found.coherence,
        "decoherence": found.decoherence,
        "clock": shares[0],
        "policy": shares[1],
        "view": shares[2],
        "text": text,
    }


def fork_problems(rooms: Rooms) -> list[dict[str, str]]:
    """Return every node whose log showed two histories, and whether others say so of ours."""
    found = [_problem(rooms, fork) for fork in rooms.council.forks.all()]
    certifier = rooms.council.certifier
    if not certifier.refused_by:
        return found
    why = next(iter(certifier.refusals.values()))
    own = {
        "node": rooms.ledger.origin.rpartition("/")[2],
        "name": "",
        "what": f"{certifier.refused_by} members refuse this node's log: {why}",
        "fix": "if its disk was restored from a backup, leave the mesh and join as a new node",
    }
    return [*found, own]


def _problem(rooms: Rooms, fork: Fork) -> dict[str, str]:
    node = fork.card.node
    record = rooms.membership.record_of(node)
    return {
        "node": node,
        "name": record.name if record else "",
        "what": f"its log showed two histories: {fork.why}",
        "fix": "revoke it; if its disk was restored from a backup, let it join again as a new node",
    }
