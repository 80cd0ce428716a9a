"""Joules since the agent began to look: from counters that wrap, or from samples of power."""

from typing import Protocol

from qallow_agent.base.reading import Reading, unknown
from qallow_agent.base.units import Seconds
from qallow_agent.energy.counter import Odometer

UNIT = "joules"
LONGEST_STEP_S: Seconds = 10.0
"""Two samples of power further apart say nothing about what was drawn between them."""


class EnergyMeter(Protocol):
    """One source of energy readings of one device."""

    def read(self, now_s: Seconds) -> Reading:
        """Return the joules since the first call: they never fall. Unknown says why."""
        ...


class PowerIntegral:
    """Adds up watts over time by the trapezoid rule.

    What was drawn while no sample came for ``LONGEST_STEP_S`` is not counted; ``model`` says how
    often that happened.

    Args:
        what: The power that is sampled, for people: ``"power of gpu0"``.
    """

    def __init__(self, what: str) -> None:
        self.joules = 0.0
        self._what = what
        self._holes = 0
        self._before: tuple[Seconds, float] | None = None

    @property
    def model(self) -> str:
        """How the joules came about, in one line."""
        holes = f"; {self._holes} gaps not counted" if self._holes else ""
        return f"samples of the {self._what} added up{holes}"

    def add(self, power: Reading, now_s: Seconds, source: str) -> Reading:
        """Take in a sample of power in watts; return the joules so far as a reading."""
        if power.value is None:
            return unknown(UNIT, source, power.why)
        if self._before is not None:
            then_s, watts = self._before
            step_s = now_s - then_s
            if step_s <= LONGEST_STEP_S:
                self.joules += (watts + power.value) / 2 * step_s
            else:
                self._holes += 1
        self._before = (now_s, power.value)
        return Reading(self.joules, UNIT, source, "estimated", self.model)


class FirstMeter:
    """Stays with the first of several meters that tells anything.

    Args:
        meters: Best first.
        retry_s: How often to look again while none does.
    """

    def __init__(self, meters: tuple[EnergyMeter, ...], retry_s: Seconds = 30.0) -> None:
        self._meters = meters
        self._retry_s = retry_s
        self._chosen: EnergyMeter | None = None
        self._due_s: Seconds | None = None
        self._none = unknown(UNIT, "none", "not looked for yet")

    def read(self, now_s: Seconds) -> Reading:
        """Return the joules that the chosen meter counted, or why none of them counts."""
        if self._chosen is not None:
            return self._chosen.read(now_s)
        if self._due_s is not None and now_s < self._due_s:
            return self._none
        self._due_s = now_s + self._retry_s
        reasons: list[str] = []
        for meter in self._meters:
            reading = meter.read(now_s)
            if reading.value is not None:
                self._chosen = meter
                return reading
            reasons.append(reading.why)
        self._none = unknown(UNIT, "none", "; ".join(reasons))
        return self._none


class Paced:
    """Reads a slow meter rarely and repeats what it said in between.

    Args:
        meter: The slow one.
        period_s: How often to read it; less than ``LONGEST_STEP_S``.
    """

    def __init__(self, meter: EnergyMeter, period_s: Seconds = 5.0) -> None:
        self._meter = meter
        self._period_s = period_s
        self._last: tuple[Seconds, Reading] | None = None

    def read(self, now_s: Seconds) -> Reading:
        """Return the newest reading, at most ``period_s`` old."""
        if self._last is None or now_s - self._last[0] >= self._period_s:
            self._last = (now_s, self._meter.read(now_s))
        return self._last[1]


class BoardEnergy:
    """Turns a board's own counter, or its power where it has none, into its energy reading.

    Args:
        name: The board, for people.
    """

    def __init__(self, name: str) -> None:
        self._odometer = Odometer()
        self._integral = PowerIntegral(f"power of {name}")
        self._counts = False

    def read(self, counter: Reading, power: Reading, now_s: Seconds) -> Reading:
        """Return the joules since the first call.

        Args:
            counter: What the board counts, in joules from any start.
            power: What it draws now, in watts.
            now_s: When both were read.
        """
        if counter.value is not None:
            self._counts = True
            total = self._odometer.add(counter.value)
            return Reading(total, UNIT, counter.source, counter.provenance, counter.why)
        if self._counts or power.value is None:
            return counter
        return self._integral.add(power, now_s, power.source)
