"""The convener: the operator's judgement when the committee should change, and to whom.

Changing it costs a round of votes, and a vote that is lost costs certificates until everybody is
back. So the membership must have been calm for a while, a quorum of the present committee must be
up, and a member that is merely down is left out only when that makes certificates easier.
"""

from collections.abc import Callable

from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Effect, Instant, Send, soonest
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.committee import Committee
from qallow_agent.ledger.kinds import SeatGiven, SeatWanted
from qallow_agent.ledger.manifest import propose
from qallow_agent.ledger.quorum import MAX_MEMBERS, Quorum
from qallow_agent.ledger.seats import Seat, check_seat

CALM_S: Seconds = 3.0
"""Boxes that boot together join within a second or two; one change then takes in all of them."""
ABSENT_S: Seconds = 60.0
"""A reboot takes less; who is away for longer may be away for good."""
SEATS_S: Seconds = 5.0

Clause = Callable[[], tuple[int, tuple[str, ...]]]
"""How many members a committee has at most, and the nodes it is of; none for whoever is up."""


def anybody() -> tuple[int, tuple[str, ...]]:
    """Return the clause of a policy that says nothing about the committee."""
    return MAX_MEMBERS, ()


class Convener:
    """What the node that holds the mesh key adds to a committee; does nothing elsewhere.

    Args:
        mesh: Of which mesh.
        mesh_key: Its private key; None where it is not.
        committee: What holds, and what is open.
        workers: Enrolled workers that are up, this node included, sorted.
        enrolled: Whether a node is still a member of the mesh, up or not.
        clause: What the mesh's policy says of the committee.
    """

    def __init__(
        self,
        *,
        mesh: MeshId,
        mesh_key: SigningKey | None,
        committee: Committee,
        workers: Callable[[], tuple[NodeId, ...]],
        enrolled: Callable[[NodeId], bool],
        clause: Clause,
    ) -> None:
        self._mesh = mesh
        self._mesh_key = mesh_key
        self._committee = committee
        self._workers = workers
        self._enrolled = enrolled
        self._clause = clause
        self._look_s: Seconds | None = 0.0 if mesh_key else None
        self._absent_since_s: dict[NodeId, Seconds] = {}
        self._seats: dict[NodeId, Seat] | None = None
        self._asked: tuple[NodeId, ...] = ()
        self._seats_until_s: Seconds | None = None

    def stir(self, now: Instant) -> None:
        """Note that the membership changed: nothing is proposed until it is calm again."""
        if self._mesh_key is not None:
            self._look_s = now.mono_s + CALM_S

    def seat(self, sender: NodeId, given: SeatGiven, now: Instant) -> list[Effect]:
        """Take in a seat that was asked for.

        Raises:
            WireError: It is forged, or another node's.
        """
        if self._seats is None or sender not in self._asked or given.seat.node != sender:
            return []
        check_seat(given.seat, self._mesh, self._committee.version + 1)
        self._seats[sender] = given.seat
        return self._compose(now) if len(self._seats) == len(self._asked) else []

    def tick(self, now: Instant) -> list[Effect]:
        """Look whether another committee is wanted, or go on with the seats that came."""
        if self._seats_until_s is not None and now.mono_s >= self._seats_until_s:
            return self._compose(now)
        if self._look_s is None or now.mono_s < self._look_s:
            return []
        self._look_s = None
        if self._committee.open is not None or self._seats is not None:
            self._look_s = now.mono_s + CALM_S
            return []
        wanted = self._wanted(now)
        held = self._committee.manifest
        if not wanted or (held and set(wanted) == set(held.nodes)):
            return []
        up = frozenset(self._workers())
        if held and sum(node in up for node in held.nodes) < held.quorum.needed:
            return []
        self._seats, self._asked = {}, tuple(node for node in wanted if node in up)
        self._seats_until_s = now.mono_s + SEATS_S
        version = self._committee.version + 1
        return [Send(node, SeatWanted(version)) for node in self._asked]

    def next_deadline(self) -> Seconds | None:
        """Return when to look again; None while nothing stirs."""
        return soonest(self._look_s, self._seats_until_s)

    def _compose(self, now: Instant) -> list[Effect]:
        seats, self._seats, self._seats_until_s = self._seats, None, None
        held = self._committee.manifest
        if self._mesh_key is None or not seats or self._committee.open is not None:
            return []
        if len(seats) < len(self._asked):
            self.stir(now)  # those that did not answer are asked again once they do
        if held and set(seats) == set(held.nodes):
            return []
        manifest = propose(self._mesh_key, self._mesh, held, seats.values())
        return self._committee.propose(manifest, now)

    def _wanted(self, now: Instant) -> tuple[NodeId, ...]:
        """Return who should sit in the committee, sorted."""
        most, pinned = self._clause()
        held = self._committee.manifest
        up = [node for node in self._workers() if not pinned or node in pinned]
        sitting = [node for node in (held.nodes if held else ()) if not pinned or node in pinned]
        away = [node for node in sitting if node not in up and self._enrolled(node)]
        since = {node: self._absent_since_s.get(node, now.mono_s) for node in away}
        self._absent_since_s = since
        staying = [node for node in away if now.mono_s - since[node] < ABSENT_S]
        for node in away:
            if node in staying:
                continue
            others = len(up) + len(away)
            if Quorum(others - 1).needed >= Quorum(others).needed:
                staying.append(node)  # without it nothing would get easier
        if any(node in since for node in staying):
            self._look_s = now.mono_s + ABSENT_S
        first = [node for node in up if node in sitting]
        new = [node for node in up if node not in sitting]
        return tuple(sorted((*first, *staying, *new)[: min(most, MAX_MEMBERS)]))
