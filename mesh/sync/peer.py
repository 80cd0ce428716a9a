"""What the pulse keeps of one live peer."""

from typing import Any

from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.sync.offset import Interval, PeerClock, Verdict
from qallow_agent.mesh.sync.pacing import admissible_cycle
from qallow_agent.mesh.sync.steady import SteadyClock
from qallow_agent.mesh.wire.kinds import Pulse, PulseEcho

MAX_FLYING = 32
"""Pulses to one peer that may be unanswered: three seconds of them; older ones count as lost."""
ECHO_BURST = 20.0
ECHO_PER_S = 50.0
"""Echoes owed to one peer: several times what pacing lets an honest one ask for."""
SLOW_RECOVERY = 0.75
"""A slow member counts as recovered below this part of the limit, so the mark does not flap."""


class PeerPulse:
    """One peer: its clock, its pace, the pulses still in flight and the echoes it is owed.

    Args:
        drift: How fast the two clocks may run apart, as a ratio.
        shortest_s: The shortest mesh tick, also the peer's assumed cycle until it tells.
        mono_s: Now.
    """

    def __init__(self, drift: float, shortest_s: Seconds, mono_s: Seconds) -> None:
        self.clock = PeerClock(drift)
        self.cycle_s = shortest_s
        self.slow = False
        self.phase: float | None = None
        self._shortest_s = shortest_s
        self._flying: dict[int, tuple[int, int]] = {}
        self._sent = 0
        self._answered = 0
        self._heard_s: Seconds | None = None
        self._credit = ECHO_BURST
        self._credit_s = mono_s

    def flew(self, pulse: Pulse, steady_ns: int) -> None:
        """Remember a pulse that leaves now; the oldest unanswered ones are given up."""
        while len(self._flying) >= MAX_FLYING:
            del self._flying[next(iter(self._flying))]
        self._flying[pulse.seq] = (pulse.t1_ns, steady_ns)
        self._sent += 1

    def landed(self, echo: PulseEcho, steady_ns: int, now: Instant) -> Verdict | None:
        """Take in an echo; None when it answers no pulse of ours (late, twice or forged)."""
        flown = self._flying.get(echo.seq)
        if flown is None or flown[0] != echo.t1_ns:
            return None
        del self._flying[echo.seq]
        verdict = self.clock.exchange(flown[1], echo.t2_ns, echo.t3_ns, steady_ns, now.mono_s)
        if verdict is not Verdict.IMPOSSIBLE:
            self._answered += 1
            self.noted(echo.cycle_s, now)
        return verdict

    def is_owed_echo(self, now: Instant) -> bool:
        """Return whether one more pulse of this peer is answered, and count it against its rate."""
        earned = max(0.0, now.mono_s - self._credit_s) * ECHO_PER_S
        self._credit_s = max(self._credit_s, now.mono_s)
        self._credit = min(ECHO_BURST, self._credit + earned)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def noted(self, cycle_s: float, now: Instant) -> None:
        """Take in the cycle that the peer claims, as far as it can be true."""
        self._heard_s = now.mono_s
        self.cycle_s = admissible_cycle(cycle_s, self._shortest_s) or self.cycle_s

    def judge_pace(self, limit_s: Seconds) -> bool:
        """Mark the peer slow or not, with hysteresis; return whether the mark changed."""
        was = self.slow
        self.slow = self.cycle_s > limit_s * (SLOW_RECOVERY if was else 1)
        return self.slow != was

    def forget_clock(self) -> None:
        """Drop everything measured with a clock of ours that has jumped since."""
        self.clock.forget()
        self._flying.clear()

    def offset(self, steady: SteadyClock, mono_s: Seconds) -> Interval | None:
        """Return the interval of the peer's clock minus our wall clock."""
        interval = self.clock.at(mono_s)
        return interval and interval.moved(-steady.lag_s).widened(steady.doubt_s)

    def document(self, steady: SteadyClock, tick_s: Seconds, mono_s: Seconds) -> dict[str, Any]:
        """Return what ``peers`` shows of this peer's time; JSON-shaped."""
        interval = self.offset(steady, mono_s)
        heard_s = self._heard_s
        return {
            "offset_s": interval.middle_s if interval else None,
            "bound_s": interval.half_s if interval else None,
            "rtt_s": self.clock.rtt_s if interval else None,
            "cycle_s": self.cycle_s,
            "slowdown": self.cycle_s / tick_s,
            "slow": self.slow,
            "sent": self._sent,
            "answered": self._answered,
            "heard_ago_s": None if heard_s is None else max(0.0, mono_s - heard_s),
        }

    def flying(self) -> int:
        """Return how many pulses are unanswered so far."""
        return len(self._flying)
