"""Judges: what another node decided is judged again here, by its evidence and by what we see.

What a judge sees for itself (clocks, views of the members, forks, audits) comes from this node's
own rooms; what it cannot see it does not object to.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from qallow_agent.base.errors import Malformed, TooLarge, WireError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.oldest import keep
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence, decode, digest
from qallow_agent.ethics.latitude import beyond, decode_in_force
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.records import EVIDENCE_BYTES, DecisionRecord
from qallow_agent.ethics.signals import SENSOR_MS
from qallow_agent.ethics.validator import Claim, Observations, revalidate
from qallow_agent.ledger.kinds import DecisionBatch
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.validation import Complaint
from qallow_agent.node.clerk import read_decisions
from qallow_agent.node.rooms import Rooms

BEHIND_S: Final[Seconds] = 600.0
"""How long decisions by the mesh's policy before this one are still right: it is on its way."""

AHEAD_S: Final[Seconds] = 30.0
"""How long a judge says nothing of decisions by a policy later than the one it holds."""

MOST_RECORDS: Final = 64
"""More decisions about one job in one leaf nobody judges again: no peer may keep us that busy."""

_CLOCK_S: Final[Seconds] = 5.0
_TRAIL: Final = 4
_MOST_TRAILS: Final = 512
_MOST_AHEAD: Final = 1_024


class Judges:
    """Judges the decisions of others, for the validation room.

    Args:
        rooms: This node's.
    """

    def __init__(self, rooms: Rooms) -> None:
        self.law: Callable[[], MeshPolicy] = lambda: rooms.charter.holds.mesh
        """Returns the mesh's policy; decisions by a laxer one are refuted."""
        self._rooms = rooms
        rooms.validation.recheck = self.recheck
        self.judged = 0
        """Batches of others that were judged."""
        self.refuted = 0
        """Of these, how many something was wrong with."""
        self._trails: dict[tuple[NodeId, str], deque[Evidence]] = {}
        self._own: tuple[Seconds, int] | None = None
        self._mesh: MeshPolicy | None = None
        self._before: tuple[MeshPolicy, Seconds] | None = None
        self._ahead: dict[NodeId, Seconds] = {}

    def look(self, now: Instant) -> MeshPolicy:
        """Return the mesh's policy; of the one before it is remembered until when it held."""
        mesh = self.law()
        if self._mesh is None or mesh.version != self._mesh.version:
            self._before = None if self._mesh is None else (self._mesh, now.mono_s)
            self._mesh = mesh
            self._ahead.clear()
        return mesh

    def recheck(self, author: NodeId, batch: DecisionBatch, now: Instant) -> Complaint | None:
        """Judge another node's decisions again; return the first thing that is wrong.

        Raises:
            WireError: The bytes are no decisions, or are by a policy that may be on its way here.
        """
        complaint = self._recheck(author, batch, now)
        self.judged += 1
        self.refuted += complaint is not None
        return complaint

    def _recheck(self, author: NodeId, batch: DecisionBatch, now: Instant) -> Complaint | None:
        leaf = parse_leaf(batch.leaf)
        if leaf.kind is not LeafKind.DECISIONS or leaf.node != author:
            raise Malformed(f"{author} shows a leaf of {leaf.kind.name} of {leaf.node}")
        start_ms, records = read_decisions(leaf.body)
        if not 0 < len(records) <= MOST_RECORDS:
            raise TooLarge(f"{len(records)} decisions in a leaf to be judged")
        policy = self._policy(leaf, batch)
        wrong = self._lax(author, policy, now)
        if wrong:
            return Complaint("h3", wrong)
        known = [decode(each.data) for each in batch.evidence if each.digest != leaf.policy]
        by_name = {digest(each)[:EVIDENCE_BYTES]: each for each in known}
        for each in records:
            complaint = self._judge(author, leaf, start_ms, each, by_name, policy, now)
            if complaint is not None:
                return complaint
        return None

    def _judge(
        self, author: NodeId, leaf: Leaf, start_ms: int, record: DecisionRecord,
        by_name: dict[bytes, Evidence], policy: Policy, now: Instant,
    ) -> Complaint | None:  # fmt: skip
        evidence = by_name.get(record.evidence)
        if evidence is None:
            return Complaint("", "the evidence that the record names is not shown")
        if evidence.node != author:
            return Complaint("", "the evidence is of another node")
        claim = Claim(evidence, record, start_ms, leaf.policy)
        found = revalidate(claim, policy, self._observations(author, evidence, now))
        if found:
            return Complaint(found[0].signal, found[0].why)
        self._remember(author, evidence)
        return None

    def _policy(self, leaf: Leaf, batch: DecisionBatch) -> Policy:
        """Return the policy that a leaf names, which must be shown with it."""
        shown = next((each for each in batch.evidence if each.digest == leaf.policy), None)
        if shown is None:
            raise Malformed("the policy that the leaf names is not shown")
        policy = decode_in_force(shown.data)
        if policy_digest(policy) != leaf.policy:
            raise Malformed("the policy that is shown is not the one that the leaf names")
        return policy

    def _lax(self, author: NodeId, policy: Policy, now: Instant) -> str:
        """Return what a policy permits beyond the mesh's; empty when nothing.

        Raises:
            WireError: It is later than ours, since a moment ago: we cannot judge by it yet.
        """
        mesh, now_ms = self.look(now), now.wall_ns // 1_000_000
        if policy.version > mesh.version:
            keep(self._ahead, author, self._ahead.get(author, now.mono_s), _MOST_AHEAD)
            if now.mono_s - self._ahead[author] < AHEAD_S:
                raise WireError(
                    f"{author} decides by policy {policy.version}, we have {mesh.version}"
                )
            return f"policy version {policy.version} is unknown here"
        if self._before is not None and policy.version == self._before[0].version:
            before, since_s = self._before
            if now.mono_s - since_s < BEHIND_S:
                return beyond(before, policy, now_ms)
        return beyond(mesh, policy, now_ms)

    def _observations(self, author: NodeId, evidence: Evidence, now: Instant) -> Observations:
        rooms = self._rooms
        clock = rooms.sync.peer_offset(author)
        own_us = self._own_us(now)
        likeness = rooms.views.likeness_to(author, now.mono_s)
        place = f"{author}/{evidence.device}"
        told = evidence.find("h.known")
        fresh = told is not None and evidence.at_ms - told.time_ms <= SENSOR_MS
        wrong = rooms.audits.against(place) is not None
        return Observations(
            now_ms=now.wall_ns // 1_000_000,
            offset_us=None if clock is None or own_us is None else round(clock.offset_s * 1e6),
            bound_us=0 if clock is None else round(clock.bound_s * 1e6),
            own_us=own_us or 0,
            likeness=likeness,
            forked=rooms.council.forks.forked(author),
            disagreements=rooms.audits.book.dissents(place) if wrong else 0,
            heard=fresh and likeness is not None,  # who just joined was alone a moment ago
            trail=tuple(self._trails.get((author, evidence.device), ())),
        )

    def _own_us(self, now: Instant) -> int | None:
        """Return how far our own clock may be off, looked at rarely; None when nobody knows."""
        if self._own is None or not 0 <= now.mono_s - self._own[0] < _CLOCK_S:
            off_s = self._rooms.sync.wall_error_s(now)
            self._own = now.mono_s, round(min(off_s, 1e9) * 1e6)
        return self._own[1] if self._own[1] < 10**15 else None

    def _remember(self, author: NodeId, evidence: Evidence) -> None:
        """Keep the last evidence of a device: what moves too fast is seen against it."""
        place = (author, evidence.device)
        trail = self._trails.get(place) or deque[Evidence](maxlen=_TRAIL)
        if not trail or trail[-1].at_ms < evidence.at_ms:
            trail.append(evidence)
        keep(self._trails, place, trail, _MOST_TRAILS)
