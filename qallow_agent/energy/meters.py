"""The meters of a node: every device's, and the book of what was used.

A fact comes in (a lease begins, a runner tells what it did, a counter was read); what is settled
goes out as accounts to be told to their desks. Nothing here wakes the node: windows are settled
when the sensors are read anyway.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.energy.budget import Budget
from qallow_agent.energy.meter import Account, Meter
from qallow_agent.energy.sums import Sums
from qallow_agent.energy.windows import Use


@dataclass(frozen=True, slots=True)
class Sample:
    """A device as just read.

    Args:
        slots: Runners it has room for.
        energy: Its joule counter, which never falls; unknown when it has none.
        read_s: When that was read.
    """

    slots: int
    energy: Reading
    read_s: Seconds


@dataclass(frozen=True, slots=True)
class Lent:
    """A lease as the meters need to know it."""

    lease: LeaseId
    runner: RunnerId
    job: JobId
    desk: NodeId
    device: str
    kernel: str


class Meters:
    """Settles what devices drew onto the jobs that used them.

    Args:
        epoch: This boot's; account names are never used again.
        kept: What was persisted under ``energy/``.
        budget: What the devices may draw.

    Raises:
        StorageCorrupt: What was kept does not decode.
    """

    def __init__(self, epoch: int, kept: Mapping[str, bytes], budget: Budget | None = None) -> None:
        self._epoch = epoch
        self._opened = 0
        self._meters: dict[str, Meter] = {}
        self._places: dict[LeaseId, tuple[RunnerId, Meter]] = {}
        self.sums = Sums(kept)
        self.budget = Budget() if budget is None else budget

    def lend(self, lent: Lent) -> Account | None:
        """Begin a lease; return its account when that can be told of already: nobody measures."""
        meter = self._meters.get(lent.device)
        if meter is None:
            meter = self._meters[lent.device] = Meter(lent.device)
        self._opened += 1
        name = f"{self._epoch}.{self._opened}"
        self._places[lent.lease] = (lent.runner, meter)
        return meter.open(Account(name, lent.device, lent.job, lent.desk, lent.kernel), lent.lease)

    def end(self, lease: LeaseId, now: Seconds) -> None:
        """Take in that a lease is over; its runner may have a last word to say."""
        if lease in self._places:
            self._places[lease][1].ended(lease, now)

    def worked(
        self, runner: RunnerId, lease: LeaseId, begin_s: Seconds, end_s: Seconds, use: Use
    ) -> None:
        """Take in what the runner of a lease did, from its first to its last finished task.

        A runner is believed about its own lease only, and no more than can be.
        """
        meter = self._meter_of(runner, lease)
        busy_s = min(use.busy_s, end_s - begin_s)
        if meter is not None and 0 < busy_s < math.inf and 0 <= use.ops < math.inf:
            meter.worked(lease, begin_s, end_s, Use(busy_s, use.ops))

    def working(self, runner: RunnerId, lease: LeaseId, since_s: Seconds, now: Seconds) -> None:
        """Take in what the runner of a lease is at."""
        meter = self._meter_of(runner, lease)
        if meter is not None:
            meter.working(lease, since_s, now)

    def sense(self, samples: Mapping[str, Sample], now: Instant) -> list[Account]:
        """Take in every device's counter and settle what can be; return the accounts with news."""
        for name, sample in samples.items():
            meter = self._meters.setdefault(name, Meter(name))
            meter.slots = max(1, sample.slots)
            meter.read(sample.energy, sample.read_s)
        news: list[Account] = []
        for name, meter in self._meters.items():
            for parts in meter.settle(now.mono_s):
                used_j = sum(share.gross_j for share in parts.shares.values())
                drawn_j = used_j + parts.idle_j
                self.sums.add_device(name, drawn_j, parts.idle_j, meter.counted, now)
                self.budget.draw(drawn_j, now)
            news += meter.statements(now.mono_s)
        self._places = {
            lease: place for lease, place in self._places.items() if lease in place[1].accounts
        }
        return news

    def rates(self, device: str) -> dict[str, float]:
        """Return the joules per op (gross) that kernels were seen to take on a device."""
        meter = self._meters.get(device)
        return {} if meter is None else dict(sorted(meter.told_rates.items()))

    def idle_w(self, device: str) -> float | None:
        """Return what a device draws when idle; None when that is not known."""
        meter = self._meters.get(device)
        return None if meter is None or meter.baseline is None else meter.baseline.mean_w

    def check(self) -> None:
        """Raise InvariantBroken when some device's joules do not add up."""
        for meter in self._meters.values():
            meter.check()

    def _meter_of(self, runner: RunnerId, lease: LeaseId) -> Meter | None:
        owner, meter = self._places.get(lease, (None, None))
        return meter if owner == runner else None
