"""One device's meter: its windows, its idle power, and the accounts of the jobs that use it."""

import math
from dataclasses import dataclass, field

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import JobId, LeaseId, NodeId
from qallow_agent.base.joules import Joules, caveat, unknown_joules
from qallow_agent.base.reading import Provenance, Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.energy.account import Baseline, Split, split
from qallow_agent.energy.windows import HOLD_S, Use, Window, Windows

PATIENCE_S: Seconds = 10.0
"""So long a counter may be silent before what waits for it is unknown."""
_TELL_S: Seconds = 2.0
"""How often an account that grows is told of."""
_LEARN_S: Seconds = 1.0
"""Busy seconds behind one value of joules per op: less is mostly noise of the counter."""
_CUT_SHORT = "its runner ended in the middle of a task; it was seen at it every quarter second"
_NEWEST = 0.3
_ROUNDING = 1e-9
_NEWS = 0.2
"""A value that moved by more than this is worth telling."""


@dataclass(slots=True, eq=False)
class Account:
    """What one job used of one device, from its first lease there until all is settled.

    Args:
        name: Unique on this node.
        device: By name.
        job: Whose it is.
        desk: Who is to be told.
        kernel: What it runs.
    """

    name: str
    device: str
    job: JobId
    desk: NodeId
    kernel: str
    leases: dict[LeaseId, Seconds | None] = field(default_factory=dict)
    """Those that live, and (with the moment of their end) those with work still to settle."""
    used: Joules = field(default_factory=Joules)
    ops: float = 0.0
    busy_s: Seconds = 0.0
    settled: bool = False
    told_s: Seconds = -math.inf
    learnt: tuple[float, float, Seconds] = (0.0, 0.0, 0.0)
    """Joules, ops and busy seconds that joules per op were last taken from."""

    def add(self, joules: Joules, use: Use) -> None:
        """Take in a part."""
        self.used = self.used.plus(joules)
        self.ops += use.ops
        self.busy_s += use.busy_s


@dataclass(slots=True)
class Meter:
    """One device.

    Args:
        name: The device's.
        slots: Runners it has room for.
    """

    name: str
    slots: int = 1
    reading: Reading = field(
        default_factory=lambda: unknown("joules", "none", "its energy was never read")
    )
    """The counter as last read."""
    counted: Provenance = "measured"
    model: str = ""
    """Provenance and model of the newest reading that had a value."""
    windows: Windows = field(default_factory=Windows)
    baseline: Baseline | None = None
    accounts: dict[LeaseId, Account] = field(default_factory=dict)
    """By lease; an account stands here once for each of its leases."""
    rates: dict[str, float] = field(default_factory=dict)
    told_rates: dict[str, float] = field(default_factory=dict)
    """Kernel -> joules per op, gross: learnt, and as told to others."""

    drawn_j: float = 0.0
    shared_j: float = 0.0
    idle_j: float = 0.0
    """All that was settled: drawn, used by jobs, used by nobody."""

    @property
    def measures(self) -> bool:
        """Whether there is a counter to read now."""
        return self.reading.value is not None

    def read(self, reading: Reading, read_s: Seconds) -> None:
        """Take in the counter as read at a moment."""
        if reading.provenance == "estimated" and not self.measures:
            self.windows.doubt()  # power that was not sampled was not added up either
        self.reading = reading
        if reading.value is not None:
            self.counted, self.model = reading.provenance, reading.why
        self.windows.sample(reading.value, read_s)

    def open(self, account: Account, lease: LeaseId) -> Account | None:
        """Begin a lease; one of a job that has an account here is added to it.

        Returns:
            An account that is new and will stay unknown.
        """
        for known in self.accounts.values():
            if (known.desk, known.job) == (account.desk, account.job):
                account = known
                break
        new = not account.leases
        account.leases[lease] = None
        self.accounts[lease] = account
        if not new or self.windows.begun:
            return None
        account.add(unknown_joules(self._why_not()), Use())
        return account

    def worked(self, lease: LeaseId, begin_s: Seconds, end_s: Seconds, use: Use) -> None:
        """Take in what a lease's runner did."""
        account = self.accounts.get(lease)
        if account is None:
            return
        if self.windows.begun:
            self.windows.worked(lease, begin_s, end_s, use)
        else:
            account.add(unknown_joules(self._why_not()), use)

    def working(self, lease: LeaseId, since_s: Seconds, now: Seconds) -> None:
        """Take in what a lease's runner is at."""
        if lease in self.accounts and self.windows.begun:
            self.windows.working(lease, since_s, now)

    def ended(self, lease: LeaseId, now: Seconds) -> None:
        """Take in that a lease is over; what it did last is still to be told."""
        account = self.accounts.get(lease)
        if account is not None:
            account.leases[lease] = now

    def settle(self, now: Seconds) -> list[Split]:
        """Share out every window that is complete."""
        return [self._share(window) for window in self.windows.settle(now)]

    def check(self) -> None:
        """Raise InvariantBroken when shares and idle do not add up to what the device drew."""
        apart_j = abs(self.drawn_j - self.shared_j - self.idle_j)
        slack_j = _ROUNDING * (1.0 + self.drawn_j)
        if apart_j > slack_j or self.idle_j < -slack_j:
            raise InvariantBroken(
                f"{self.name} drew {self.drawn_j} J: jobs {self.shared_j} J, idle {self.idle_j} J"
            )

    def statements(self, now: Seconds) -> list[Account]:
        """Return the accounts of which there is news; those that are settled are closed."""
        news: list[Account] = []
        for account in dict.fromkeys(self.accounts.values()):
            for lease, over_s in list(account.leases.items()):
                if over_s is not None and self._complete(account, lease, now - over_s):
                    self._drop(account, lease)
            if not account.leases:
                account.settled = True
                news.append(account)
            elif self.windows.begun and account.busy_s and now - account.told_s >= _TELL_S:
                account.told_s = now
                news.append(account)
        return news

    def _share(self, window: Window) -> Split:
        uses: dict[str, Use] = {}
        accounts: dict[str, Account] = {}
        for lease, use in window.uses.items():
            account = self.accounts.get(lease)
            if account is None or use.busy_s <= 0:
                continue
            accounts[account.name] = account
            known = uses.setdefault(account.name, Use())
            known.busy_s += use.busy_s
            known.ops += use.ops
        if window.joules is None:
            lost = unknown_joules(f"the energy counter of {self.name} began anew, or had a gap")
            for name, use in uses.items():
                accounts[name].add(lost, use)
            return Split({}, 0.0)
        busy_s = {name: use.busy_s for name, use in uses.items()}
        parts = split(window.joules, window.length_s, busy_s, self.slots, self.baseline)
        if not uses:
            self._idled(window.joules / window.length_s)
        for name, joules in parts.shares.items():
            accounts[name].add(self._as_read(joules), uses[name])
            self._learn(accounts[name])
            self.shared_j += joules.gross_j
        self.drawn_j += window.joules
        self.idle_j += parts.idle_j
        return parts

    def _as_read(self, joules: Joules) -> Joules:
        """Return a share that is known no better than the counter it comes from."""
        return (
            joules if self.counted == "measured" else caveat(self.counted, self.model).plus(joules)
        )

    def _idled(self, power_w: float) -> None:
        if self.baseline is None:
            self.baseline = Baseline(power_w, power_w, power_w)
        else:
            self.baseline.observe(power_w)

    def _learn(self, account: Account) -> None:
        """Take joules per op from what an account has added up since the last time."""
        used_j, ops, busy_s = account.learnt
        news = (account.used.gross_j - used_j, account.ops - ops, account.busy_s - busy_s)
        behind = not all(self.windows.told(lease) for lease in account.leases)
        if behind or news[2] < _LEARN_S or news[1] <= 0 or account.used.provenance == "unknown":
            return
        account.learnt = (account.used.gross_j, account.ops, account.busy_s)
        newest = news[0] / news[1]
        known = self.rates.get(account.kernel)
        rate = newest if known is None else known + _NEWEST * (newest - known)
        self.rates[account.kernel] = rate
        told = self.told_rates.get(account.kernel)
        if told is None or abs(rate - told) > _NEWS * told:
            self.told_rates[account.kernel] = rate

    def _complete(self, account: Account, lease: LeaseId, over_for_s: Seconds) -> bool:
        """Return whether everything an ended lease did is settled, or never will be."""
        if not self.windows.waiting(lease):
            return over_for_s >= HOLD_S
        if self.measures or over_for_s < PATIENCE_S:
            return False
        account.add(unknown_joules(f"the energy counter of {self.name} fell silent"), Use())
        return True

    def _drop(self, account: Account, lease: LeaseId) -> None:
        """Take an ended lease off its account."""
        if not self.windows.begun:
            account.add(unknown_joules(self._why_not()), Use())
        elif not self.windows.told(lease):
            account.add(caveat("estimated", _CUT_SHORT), Use())
        self.windows.forget(lease)
        del self.accounts[lease], account.leases[lease]

    def _why_not(self) -> str:
        return f"{self.name} has no energy meter: {self.reading.why or 'nothing to read'}"
