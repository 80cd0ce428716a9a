"""What this node observes of its mesh, for whoever states it or compares it with others' word."""

from collections import deque
from collections.abc import Callable, Mapping
from math import isfinite

from qallow_agent.base.ids import Entropy, MeshId, NodeId
from qallow_agent.base.keys import NodeKeys
from qallow_agent.base.machine import Instant
from qallow_agent.ledger.convener import Clause, anybody
from qallow_agent.ledger.council import Council, Surroundings
from qallow_agent.ledger.leaf import NEVER_US
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.statement import Statement, digest_members, disagreement
from qallow_agent.ledger.validation import Validation, believe_all
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.sync.sync import Sync
from qallow_agent.mesh.trust.doorkeeper import Doorkeeper
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.kinds import MemberState, Role

_VIEWS = 4
"""Views of the members that count as ours: others hear of a change a moment before or after us."""

Audits = Callable[[], tuple[int, int]]
"""How many audits were counted, and the sum of their result entropies in millionths."""

Shares = Callable[[Instant], tuple[int, int, int]]
"""How many members that are up are in harmony by clock (h1), policy (h3) and view (h4)."""


class Observer:
    """What this node observes of the mesh, as epoch statements say it.

    Args:
        membership: Who is up.
        doorkeeper: Who belongs to the mesh, and as what.
        sync: How well time is known.
        log: This node's own log.
    """

    def __init__(
        self, membership: Membership, doorkeeper: Doorkeeper, sync: Sync, log: Log
    ) -> None:
        self.audits: Audits = _no_audits
        self.shares: Shares = self._everybody
        self.clause: Clause = anybody
        self.policy: Callable[[], bytes] = lambda: log.policy
        """Digest of the mesh's policy: that in force here may be stricter, and differs by node."""
        self._membership = membership
        self._doorkeeper = doorkeeper
        self._sync = sync
        self._log = log
        self._views: deque[bytes] = deque(maxlen=_VIEWS)

    def surroundings(self) -> Surroundings:
        """Return what the council asks for."""
        return Surroundings(
            members=self.members,
            workers=self.workers,
            enrolled=self.enrolled,
            state=self.state,
            recompute=self.recompute,
            clause=self.seats,
        )

    def members(self) -> tuple[NodeId, ...]:
        """Return the members that are up, this node included, sorted."""
        return self._membership.alive()

    def workers(self) -> tuple[NodeId, ...]:
        """Return the members that are up and may work, sorted."""
        roles = self._doorkeeper.roles_of
        return tuple(node for node in self.members() if Role.WORKER in roles(node))

    def seats(self) -> tuple[int, tuple[str, ...]]:
        """Return what the mesh's policy says of the committee."""
        return self.clause()

    def key_of(self, node: NodeId) -> bytes | None:
        """Return a member's identity key; None for strangers."""
        credential = self._doorkeeper.credential_of(node)
        return credential.certificate.node_key if credential else None

    def enrolled(self, node: NodeId) -> bool:
        """Return whether a node is still a member that may work, up or not."""
        record = self._membership.record_of(node)
        gone = record is None or record.state is MemberState.LEFT
        return not gone and Role.WORKER in self._doorkeeper.roles_of(node)

    def note(self) -> None:
        """Remember the members as they are now."""
        digest = digest_members(self.members())
        if not self._views or self._views[-1] != digest:
            self._views.append(digest)

    def state(self, now: Instant) -> Statement:
        """Return the epoch statement as this node would make it now."""
        audits, entropy = self.audits()
        members = self.members()
        clock_ok, policy_ok, view_ok = self.shares(now)
        earliest_us, latest_us = _interval(now, self._sync.wall_error_s(now))
        return Statement(
            audits=audits,
            entropy_millionths=entropy,
            members=len(members),
            clock_ok=clock_ok,
            policy_ok=policy_ok,
            view_ok=view_ok,
            policy=self.policy(),
            members_digest=digest_members(members),
            earliest_us=earliest_us,
            latest_us=latest_us,
        )

    def recompute(self, _: NodeId, stated: Statement) -> str:
        """Return in what a statement differs from what this node observes itself."""
        self.note()
        shared = next((each for each in self._views if each == stated.members_digest), b"")
        return disagreement(stated, policy=self.policy(), members_digest=shared)

    def _everybody(self, _: Instant) -> tuple[int, int, int]:
        count = len(self.members())
        return count, count, count


def make_council(
    me: NodeId, standing: Standing, keys: NodeKeys, log: Log, observer: Observer,
    rng: Entropy, kept: Mapping[str, bytes],
) -> Council:  # fmt: skip
    """Return the council of a node.

    Raises:
        StorageCorrupt: It cannot read what it kept.
    """
    return Council(
        me=me,
        mesh=standing.mesh,
        mesh_key=standing.mesh_key,
        keys=keys,
        log=log,
        around=observer.surroundings(),
        rng=rng,
        kept=kept,
    )


def make_validation(me: NodeId, mesh: MeshId, keys: NodeKeys, observer: Observer) -> Validation:
    """Return what asks validators; whoever knows how installs ``recheck``."""
    return Validation(
        me=me,
        mesh=mesh,
        identity=keys.identity,
        workers=observer.workers,
        key_of=observer.key_of,
        recheck=believe_all,
    )


def _no_audits() -> tuple[int, int]:
    return 0, 0


def _interval(now: Instant, bound_s: float) -> tuple[int, int]:
    """Return the earliest and latest time that a moment can have been, in microseconds."""
    if not isfinite(bound_s):
        return 0, NEVER_US
    now_us, half_us = max(now.wall_ns, 0) // 1_000, round(bound_s * 1e6)
    return max(now_us - half_us, 0), min(now_us + half_us, NEVER_US)
