"""The shade of a job: its one lease on a device on trial, for copies of what others answer too."""

from qallow_agent.base.ids import LeaseId, NodeId
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.local import Choice
from qallow_agent.jobs.messages import Lease, LeaseGrant

_PATIENCE_S: Seconds = 30.0
_PAUSE_S: Seconds = 5.0
"""A device that refused or failed a shadow is left alone for this long."""


class Shade:
    """Asks for one shadow lease at a time; it counts as none of the leases that a job needs."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self._asked: tuple[NodeId, str] | None = None
        self._until_s: Seconds = 0.0

    def ask(self, choice: Choice, now: Seconds) -> tuple[NodeId, str] | None:
        """Return the place to ask, unless there is a lease, or an answer to wait for."""
        if self.lease is not None or now < self._until_s:
            return None
        self._asked = (choice.node, choice.device)
        self._until_s = now + _PATIENCE_S
        return self._asked

    def take(self, grant: LeaseGrant) -> bool:
        """Take a lease that was asked for here; False when it was not."""
        lease = grant.lease
        if self._asked != (lease.node, lease.device) or self.lease is not None:
            return False
        self.lease, self._asked = lease, None
        return True

    def refused(self, node: NodeId, device: str, now: Seconds) -> bool:
        """Take in a refusal; False when it is about another request."""
        if self._asked != (node, device):
            return False
        self._asked, self._until_s = None, now + _PAUSE_S
        return True

    def drop(self, lease: LeaseId, now: Seconds) -> Lease | None:
        """End the lease; None when it is another one."""
        if self.lease is None or self.lease.id != lease:
            return None
        ended, self.lease = self.lease, None
        self._until_s = now + _PAUSE_S
        return ended

    def gone(self, node: NodeId, now: Seconds) -> Lease | None:
        """End what there is at a node that is down."""
        if self._asked is not None and self._asked[0] == node:
            self._asked = None
        at_node = self.lease is not None and self.lease.node == node
        return self.drop(self.lease.id, now) if self.lease is not None and at_node else None
