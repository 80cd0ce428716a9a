"""The council: witness, committee, convener, certifier and book of forks as one room.

The hallway hands it what peers say, who is up, and each new head of this node's log; everything
that leads to is said by effects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import Entropy, MeshId, NodeId, Sender
from qallow_agent.base.keys import NodeKeys
from qallow_agent.base.machine import Effect, Instant, Send, soonest
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.certificate import open_head
from qallow_agent.ledger.certifier import Certifier
from qallow_agent.ledger.committee import Committee
from qallow_agent.ledger.convener import Clause, Convener, anybody
from qallow_agent.ledger.forks import Forks
from qallow_agent.ledger.kinds import (
    CommitteeChanged,
    ForkFound,
    HeadCosigned,
    HeadOffered,
    HeadRefused,
    HeadsTold,
    ManifestProposed,
    ManifestTold,
    ManifestVoted,
    ManifestWanted,
    ProofGiven,
    ProofWanted,
    SeatGiven,
    SeatWanted,
)
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.memory import Memory
from qallow_agent.ledger.messages import HeadSigned
from qallow_agent.ledger.quorum import contradict
from qallow_agent.ledger.seats import Card, keys_from, make_card
from qallow_agent.ledger.statement import Statement
from qallow_agent.ledger.witness import Witness


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the hallway knows and the council asks for, each as a call.

    Args:
        members: Members that are up, this node included, sorted.
        workers: Of them, enrolled workers.
        enrolled: Whether a node is still a member of the mesh, up or not.
        state: The epoch statement as this node would make it now; None while it cannot.
        recompute: In what another node's statement differs from what is observed here.
        clause: What the mesh's policy says of the committee.
    """

    members: Callable[[], tuple[NodeId, ...]]
    workers: Callable[[], tuple[NodeId, ...]]
    enrolled: Callable[[NodeId], bool]
    state: Callable[[Instant], Statement | None]
    recompute: Callable[[NodeId, Statement], str]
    clause: Clause = anybody


class Council:
    """Everything this node does so that logs are believed.

    Args:
        me: Who this is.
        mesh: Of which mesh.
        mesh_key: Its public key.
        keys: This node's.
        log: Its own log.
        around: What the hallway knows.
        rng: Injected entropy.
        kept: What was kept under ``coherence/``.

    Raises:
        StorageCorrupt: A kept file does not decode.
    """

    def __init__(
        self,
        *,
        me: NodeId,
        mesh: MeshId,
        mesh_key: bytes,
        keys: NodeKeys,
        log: Log,
        around: Surroundings,
        rng: Entropy,
        kept: Mapping[str, bytes],
    ) -> None:
        key_for = keys_from(keys.ledger)
        self.card = card = make_card(mesh, keys.identity, log.keys[0].public)
        memory = Memory(kept)
        self.forks = Forks(
            me=me, mesh=mesh, memory=memory, members=around.members, rng=rng, kept=kept
        )
        self.witness = Witness(
            me=me, mesh=mesh, key_for=key_for, memory=memory, recompute=around.recompute
        )
        self.witness.forked = self.forks.forked
        self.witness.suspect = self._suspect
        self.committee = Committee(
            mesh=mesh,
            mesh_key=mesh_key,
            keys=keys,
            me=me,
            key_for=key_for,
            witness=self.witness,
            members=around.members,
            kept=kept,
        )
        self._convener = Convener(
            mesh=mesh,
            mesh_key=keys.mesh,
            committee=self.committee,
            workers=around.workers,
            enrolled=around.enrolled,
            clause=around.clause,
        )
        self.certifier = Certifier(me=me, card=card, log=log, kept=kept)
        self.certifier.manifest = self.committee.manifest
        self._log = log
        self._state = around.state
        log.statement = self._stated

    # --- the Machine interface --------------------------------------------------------------------

    def receive(self, sender: Sender, message: Message, now: Instant) -> list[Effect]:
        """Take in what a member says, or a fact of this node."""
        node = NodeId(sender)
        match message:
            case HeadOffered():
                self.forks.news(now)
                return [
                    *self._catch_up(node, message.version),
                    *self.witness.offered(node, message, now),
                ]
            case HeadCosigned():
                return self.certifier.cosigned(node, message, now)
            case HeadRefused():
                ask = self._catch_up(node, message.version)
                return [*ask, *self.certifier.refused(node, message)]
            case HeadSigned():
                return self.certifier.signed(message, now)
            case CommitteeChanged():
                manifest = self.committee.manifest
                return self.certifier.committee_changed(manifest, now) if manifest else []
        return self._take_of_forks(node, message, now) or self._take_of_committee(
            node, message, now
        )

    def _take_of_forks(self, node: NodeId, message: Message, now: Instant) -> list[Effect]:
        match message:
            case HeadsTold():
                return self.forks.told(message, now)
            case ForkFound():
                return self.forks.evidence(message, now)
            case ProofGiven():
                return self.forks.answered(node, message, now)
            case ProofWanted(old=old, new=new) if 0 < old < new <= self._log.size:
                return [Send(node, ProofGiven(old, new, self._log.consistency(old, new)))]
        return []

    def _take_of_committee(self, node: NodeId, message: Message, now: Instant) -> list[Effect]:
        committee = self.committee
        effects: list[Effect] = []
        match message:
            case SeatWanted():
                effects = committee.seat_wanted(node, message)
            case SeatGiven():
                effects = self._convener.seat(node, message, now)
            case ManifestProposed():
                effects = committee.proposed(node, message, now)
            case ManifestVoted():
                effects = committee.voted(message, now)
            case ManifestTold():
                effects = committee.told(message, now)
            case ManifestWanted():
                effects = committee.wanted(node, message)
        return effects

    def tick(self, now: Instant) -> list[Effect]:
        """Do what time demands in every part."""
        return [
            *self._convener.tick(now),
            *self.committee.tick(now),
            *self.certifier.tick(now),
            *self.forks.tick(now),
        ]

    def next_deadline(self) -> Seconds | None:
        """Return when the first part has something to do; None while nothing stirs."""
        return soonest(
            self._convener.next_deadline(),
            self.committee.next_deadline(),
            self.certifier.next_deadline(),
            self.forks.next_deadline(),
        )

    def check(self) -> None:
        """Raise InvariantBroken when the witness would sign under what the committee left."""
        held = self.committee.manifest
        if self.witness.manifest is not held or self.certifier.manifest not in (held, None):
            raise InvariantBroken("witness, certifier and committee hold different manifests")

    # --- who is up --------------------------------------------------------------------------------

    def member_up(self, node: NodeId, now: Instant) -> list[Effect]:
        """Bring a member that came up to what holds, and show it what it has not cosigned."""
        self._convener.stir(now)
        return [
            *self.committee.tell(node),
            *self.forks.greet(node),
            *self.certifier.member_up(node),
        ]

    def member_down(self, now: Instant) -> list[Effect]:
        """Note that a member is gone."""
        self._convener.stir(now)
        return []

    def policy_changed(self, now: Instant) -> None:
        """Look again whether another committee is wanted."""
        self._convener.stir(now)

    # --- between the parts ------------------------------------------------------------------------

    def _catch_up(self, node: NodeId, version: int) -> list[Effect]:
        """Ask a peer for a version that it knows and this node does not."""
        known = self.committee.version
        return [Send(node, ManifestWanted(known))] if version > known else []

    def _stated(self, now: Instant) -> bytes | None:
        statement = self._state(now)
        if statement is None:
            return None
        self.certifier.stated()
        return statement.encode()

    def _suspect(self, card: Card, one: bytes, other: bytes, now: Instant) -> list[Effect]:
        if not one or not other:
            return [Notice("ledger.fork", "a log does not continue", "error", {"node": card.node})]
        if contradict(open_head(one, card).mark, open_head(other, card).mark):
            return self.forks.compare(card, one, other, now)
        return self.forks.broken(card, one, other)
