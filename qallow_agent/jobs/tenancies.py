"""Tenancies: which lease of which desk is on which runner."""

import math
from collections.abc import Sequence

from qallow_agent.base.ids import Entropy, LeaseId, NodeId, draw_id, runner
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Reply, Send
from qallow_agent.jobs.leases import sign_lease
from qallow_agent.jobs.local import Allow, LeaseBegun, LeaseOver
from qallow_agent.jobs.messages import Lease, LeaseGrant, LeaseRefusal, LeaseRequest, LeaseRevoked
from qallow_agent.jobs.model import Admission, LeaseEnd
from qallow_agent.jobs.parcels import PARCELS
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.workplace import Phase, Station, Tenancy, Waiting

_MOST_RENEWED = 4_096


class Tenancies:
    """Grants, renews and revokes leases; the runners' lives are the crew's business.

    Args:
        me: This node.
        node_name: Its name for people.
        identity: Signs the leases.
        hosts: Where its runners can be reached.
        settings: Their life and credits.
        rng: Entropy for lease ids.
    """

    def __init__(
        self,
        me: NodeId,
        node_name: str,
        identity: SigningKey,
        hosts: tuple[str, ...],
        settings: JobSettings,
        rng: Entropy,
    ) -> None:
        self._me = me
        self._node_name = node_name
        self._identity = identity
        self._hosts = hosts
        self._settings = settings
        self._rng = rng
        self.scores: dict[str, bytes] = {}
        """Goes with every lease of a device."""
        self.stations: dict[LeaseId, Station] = {}
        """Where each living lease is."""

    def grant(self, station: Station, waiting: Waiting, rate: float, now: Instant) -> list[Effect]:
        """Lease a free runner to a request that waits.

        Args:
            station: The runner.
            waiting: The request.
            rate: Ops per second of its kernel here; 0 when nothing was measured.
            now: When.
        """
        request, ttl_s = waiting.request, self._settings.lease_ttl_s
        lease = Lease(
            id=LeaseId(draw_id("lease", self._rng)),
            job=request.job,
            node=self._me,
            node_name=self._node_name,
            device=station.device,
            runner=station.id,
            kernel=request.kernel,
            kernel_hash=request.kernel_hash,
            credits=self._settings.credits,
            ttl_s=ttl_s,
            expires_s=now.wall_s + ttl_s,
            hosts=self._hosts,
            port=station.port,
            runner_key=station.key,
            submitter_key=request.submitter_key,
            parcels=PARCELS,
        )
        wished_s = request.task_limit_s
        limit_s = wished_s if 0 < wished_s < math.inf else math.inf
        expires_s = now.mono_s + ttl_s
        station.tenancy = Tenancy(
            lease=sign_lease(lease, self._identity),
            desk=waiting.desk,
            task_limit_s=min(limit_s, self._settings.task_limit_s),
            granted_s=now.mono_s,
            expires_s=expires_s,
            active_s=now.mono_s,
            priority=waiting.priority,
            memory_bytes=request.memory_bytes,
        )
        station.enter(Phase.LEASED, now.mono_s, expires_s)
        self.stations[lease.id] = station
        # The runner must know the key before the submitter can show it.
        return [
            self._allow(station, station.tenancy),
            Send(
                waiting.desk,
                LeaseGrant(station.tenancy.lease, rate, self.scores.get(lease.device, b"")),
            ),
            Announce(
                LeaseBegun(
                    lease.id, lease.runner, lease.job, waiting.desk, lease.device, lease.kernel
                )
            ),
        ]

    def renew(self, desk: NodeId, leases: Sequence[LeaseId], now: Instant) -> list[Effect]:
        """Extend a desk's leases; tell it which of them are gone."""
        effects: list[Effect] = []
        for lease_id in leases[:_MOST_RENEWED]:
            station = self.stations.get(lease_id)
            tenancy = None if station is None else station.tenancy
            if station is None or tenancy is None or tenancy.desk != desk:
                reason = f"{self._node_name} does not know this lease: it restarted, or it ended"
                effects.append(Send(desk, LeaseRevoked(lease_id, LeaseEnd.UNKNOWN, reason)))
                continue
            tenancy.expires_s = now.mono_s + tenancy.lease.ttl_s
            effects.append(self._allow(station, tenancy))
        return effects

    def end(self, station: Station) -> Tenancy | None:
        """Take the lease off a runner and say nothing; None when it has none."""
        tenancy, station.tenancy = station.tenancy, None
        if tenancy is not None:
            del self.stations[tenancy.lease.id]
        return tenancy

    def revoke(
        self,
        station: Station,
        end: LeaseEnd,
        reason: str,
        task: int | None = None,
        attempt: int | None = None,
    ) -> list[Effect]:
        """End the lease on a runner, if any, and tell its desk why."""
        tenancy = self.end(station)
        if tenancy is None:
            return []
        return [
            Send(tenancy.desk, LeaseRevoked(tenancy.lease.id, end, reason, task, attempt)),
            Announce(LeaseOver(tenancy.lease.id)),
        ]

    def of_desk(self, desk: NodeId) -> list[Station]:
        """Return the runners under leases of one desk."""
        return [
            station
            for station in self.stations.values()
            if station.tenancy is not None and station.tenancy.desk == desk
        ]

    def _allow(self, station: Station, tenancy: Tenancy) -> Reply:
        lease = tenancy.lease
        allow = Allow(
            lease.id,
            lease.submitter_key,
            lease.kernel,
            lease.credits,
            lease.ttl_s,
            tenancy.task_limit_s,
        )
        return Reply(runner(station.id), allow)


def deny(desk: NodeId, request: LeaseRequest, admission: Admission) -> Effect:
    """Return the answer to a lease request that the device's gate does not let in."""
    answer = LeaseRefusal(
        request.job,
        request.device,
        admission.code,
        admission.reason,
        admission.hint,
        admission.document,
    )
    return Send(desk, answer)


def refuse(desk: NodeId, request: LeaseRequest, code: str, reason: str, hint: str = "") -> Effect:
    """Return the answer to a lease request that comes to nothing."""
    return Send(desk, LeaseRefusal(request.job, request.device, code, reason, hint))
