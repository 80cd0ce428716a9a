"""Every member we know of, and which of them we have met at a door."""

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.membership.state import UP
from qallow_agent.mesh.wire.kinds import MemberRecord, MemberState


class MemberTable:
    """Beliefs by node, with the views that every step asks for kept ready.

    Args:
        me: Our own record; it is in the table but in none of the views of others.
        limit: Members kept at most.
    """

    def __init__(self, me: MemberRecord, limit: int) -> None:
        self._limit = limit
        self._me = me.node
        self._records: dict[NodeId, MemberRecord] = {me.node: me}
        self._met: dict[NodeId, tuple[bytes, Contact]] = {}
        self._linked: tuple[NodeId, ...] | None = None
        self._alive: tuple[NodeId, ...] | None = None
        self._dead: tuple[NodeId, ...] | None = None

    def get(self, node: NodeId) -> MemberRecord | None:
        """Return the belief about a member, if there is one."""
        return self._records.get(node)

    def put(self, record: MemberRecord) -> None:
        """Replace the belief about a member."""
        self._records[record.node] = record
        self._linked = self._alive = self._dead = None

    def meet(self, node: NodeId, curve_key: bytes, contact: Contact) -> None:
        """Remember with which key and where a member proved who it is."""
        self._met[node] = (curve_key, contact)
        self._linked = self._alive = self._dead = None

    def forget(self, node: NodeId) -> None:
        """Drop all about a member."""
        self._records.pop(node, None)
        self._met.pop(node, None)
        self._linked = self._alive = self._dead = None

    @property
    def full(self) -> bool:
        """Whether no further member is taken in."""
        return len(self._records) >= self._limit

    @property
    def me(self) -> MemberRecord:
        """Our own record."""
        return self._records[self._me]

    def has_met(self, node: NodeId) -> bool:
        """Return whether a member ever proved who it is."""
        return node in self._met

    def met_at(self, record: MemberRecord) -> bool:
        """Return whether the member proved itself with exactly this key and address."""
        return self._met.get(record.node) == (record.curve_key, record.contact)

    def is_linked(self, node: NodeId) -> bool:
        """Return whether a member counts and proved itself with the key it has now."""
        record, met = self._records.get(node), self._met.get(node)
        return (
            record is not None
            and met is not None
            and record.state in UP
            and record.curve_key == met[0]
        )

    def linked(self) -> tuple[NodeId, ...]:
        """Return the others that we can probe and tell, sorted."""
        if self._linked is None:
            self._linked = tuple(sorted(node for node in self._met if self.is_linked(node)))
        return self._linked

    def alive(self) -> tuple[NodeId, ...]:
        """Return the others that we can probe and that nobody suspects, sorted."""
        if self._alive is None:
            self._alive = tuple(
                node for node in self.linked() if self._records[node].state is MemberState.ALIVE
            )
        return self._alive

    def dead(self) -> tuple[NodeId, ...]:
        """Return the others that we met once and that are dead now, sorted."""
        if self._dead is None:
            self._dead = tuple(
                sorted(
                    node
                    for node in self._met
                    if node in self._records and self._records[node].state is MemberState.DEAD
                )
            )
        return self._dead

    def records(self) -> tuple[MemberRecord, ...]:
        """Return every belief, our own included, sorted by node."""
        return tuple(self._records[node] for node in sorted(self._records))

    def __len__(self) -> int:
        return len(self._records)
