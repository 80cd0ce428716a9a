"""The signals: one table of what is looked at before work starts, and what is too bad to start.

A *ramp* turns a value into thousandths: 0 at its bad end, the hard limit; 1000 at its good end,
where it is comfortable. A signal without a ramp is a *fact*: it supports others, or a *stop*.

Source: the limits are conventions of this project; each mesh's policy may set its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

Component = Literal["s", "c", "h"]
COMPONENTS: tuple[Component, ...] = ("s", "c", "h")

SENSOR_MS = 3_000
CANARY_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
NEVER_MS = 0
"""Age limit of what holds until somebody says otherwise, like a pause."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One row of the table.

    Args:
        id: Its name in evidence, policies and refusals; the first letter is its component.
        code: Its number in decision records; never given to another.
        name: What it is called, in a few words.
        unit: The unit of its values.
        measures: What its value is.
        bad: Millionths of the unit at the hard limit; None for facts.
        good: Millionths of the unit where it is comfortable.
        age_ms: Older evidence is unknown; ``NEVER_MS`` when it does not age.
        stop: Why work stops at its bad end; empty when that only lowers the score.
        stop_s: Within which time running work stops then.
        closed: An item that says "unknown" counts as the bad end: no consent is not consent.
        role: ``signal`` is scored, ``fact`` supports others, ``ceiling`` is computed.
    """

    id: str
    code: int
    name: str
    unit: str
    measures: str
    bad: int | None = None
    good: int | None = None
    age_ms: int = SENSOR_MS
    stop: str = ""
    stop_s: float = 0.0
    closed: bool = False
    role: Literal["signal", "fact", "ceiling"] = "signal"

    @property
    def component(self) -> Component:
        """The component that it belongs to."""
        return cast("Component", self.id[0])


def _ramp(
    id_: str,
    code: int,
    name: str,
    unit: str,
    measures: str,
    bad: float,
    good: float,
    age_ms: int = SENSOR_MS,
) -> Signal:
    ends = (round(bad * 1_000_000), round(good * 1_000_000))
    return Signal(id_, code, name, unit, measures, *ends, age_ms)


def _stop(
    id_: str, code: int, name: str, measures: str, stop: str, stop_s: float, *, closed: bool = False
) -> Signal:
    return Signal(
        id_, code, name, "flag", measures, 0, 1_000_000, NEVER_MS, stop, stop_s, closed=closed
    )


def _fact(
    id_: str, code: int, name: str, unit: str, measures: str, age_ms: int = SENSOR_MS
) -> Signal:
    return Signal(id_, code, name, unit, measures, age_ms=age_ms, role="fact")


def _ceiling(id_: str, code: int, name: str, measures: str) -> Signal:
    return Signal(id_, code, name, "ratio", measures, role="ceiling")


TABLE: tuple[Signal, ...] = (
    _ramp("s1", 1, "power headroom", "ratio",
          "share of the power cap that is left with the job on", 0, 0.1),
    _ramp("s2", 2, "thermal margin", "celsius",
          "degrees below the limit with the job on", 0, 10),
    _ramp("s2.slowdown", 3, "thermal slowdown", "flag",
          "1 while hardware slows for heat or brakes for power: counts 0.5", 2, 0),
    Signal("s2.shutdown", 4, "thermal shutdown", "flag",
           "1 when heat has shut the device down", 1_000_000, 0, NEVER_MS, "heat shut it off", 5.0),
    _ramp("s3", 5, "frugality", "ratio",
          "joules of the best feasible placement, as a share of this one's", 0.33, 0.8, CANARY_MS),
    _ramp("s4", 6, "energy budget", "ratio",
          "joules left in the budget's window, as a multiple of those predicted", 1, 2, CANARY_MS),
    _ramp("s4.charge", 7, "battery", "ratio",
          "state of charge while on battery", 0.2, 0.4, CANARY_MS),
    _ramp("s5", 8, "carbon or price", "ratio",
          "percentile of this hour in the schedule that was pushed in", 1, 0.7, HOUR_MS),
    _ceiling("s0", 9, "measured power and temperature",
             "1 both measured, 0.97 one or estimated, 0.95 neither"),
    _ramp("c1.cpu", 20, "CPU pressure on others", "ratio",
          "share of time in which others waited for a CPU", 0.4, 0.1),
    _ramp("c1.io", 21, "IO pressure on others", "ratio",
          "share of time in which others waited for IO", 0.4, 0.1),
    _ramp("c1.memory", 22, "memory pressure on others", "ratio",
          "share of time in which others waited for memory", 0.1, 0.01),
    _ramp("c2", 23, "a person is here", "seconds",
          "time since the last input of a person", 0, 180),
    _ramp("c3", 24, "CPU use by others", "ratio",
          "share of the CPUs that other programs use", 0.5, 0.25),
    _ramp("c4.use", 25, "GPU use by others", "ratio",
          "share of the GPU that other programs use", 0.5, 0.1),
    _ramp("c4.memory", 26, "GPU memory left", "ratio",
          "share of the GPU's memory that is left with the job on", 0.02, 0.1),
    _ramp("c5", 27, "wake-up latency", "seconds",
          "lateness of a 50 Hz timer, p99", 0.05, 0.005, CANARY_MS),
    _stop("c6", 28, "consent and quiet hours",
          "1 while the owner's policy consents", "the owner does not consent", 1.0, closed=True),
    _stop("c7", 29, "data zone",
          "1 when the job's data may be here", "the job's data may not be here", 1.0, closed=True),
    _stop("c8", 30, "owner's pause",
          "0 while the owner has paused this node", "paused by the owner", 1.0, closed=True),
    _ceiling("c0", 31, "measured pressure or latency",
             "1 when any of c1 or c5 is measured, else 0.95"),
    _ramp("h1", 40, "clock", "seconds",
          "clock offset against the mesh plus its error bound", 0.05, 0.005, CANARY_MS),
    _ramp("h2", 41, "agreement of results", "ratio",
          "share of audits that agreed, with 20 agreements to begin with", 0.9, 0.98, DAY_MS),
    Signal("h3", 42, "policy and version", "ratio",
           "1 the quorum's policy, 0.97 the one before for 10 minutes, 0 any other",
           0, 1_000_000, NEVER_MS, "the mesh does not know its policy", 5.0, closed=True),
    _ramp("h4", 43, "view of the mesh", "ratio",
          "likeness of its live set to those of its peers, median", 0.5, 0.9, CANARY_MS),
    _stop("h5", 44, "ledger",
          "0 when its ledger was found forked", "its ledger was found forked", 5.0),
    _ceiling("h0", 45, "word from peers",
             "1 with fresh word from a peer or without peers by design, else 0.95"),
    _fact("s.power", 60, "power", "watts", "power drawn by the device"),
    _fact("s.limit", 61, "power limit", "watts", "the board's own limit", CANARY_MS),
    _fact("s.temperature", 62, "temperature", "celsius", "hottest sensor of the device"),
    _fact("s.energy", 63, "energy counter", "joules", "reading of the device's energy counter"),
    _fact("h.known", 64, "peers ever known", "count",
          "0 makes a node solo by design", NEVER_MS),
    _fact("h.fresh", 65, "peers heard", "count", "peers heard within the last minute", CANARY_MS),
)  # fmt: skip

SIGNALS: Mapping[str, Signal] = MappingProxyType({each.id: each for each in TABLE})
BY_CODE: Mapping[int, Signal] = MappingProxyType({each.code: each for each in TABLE})
SCORED: tuple[Signal, ...] = tuple(each for each in TABLE if each.role != "fact")
CEILINGS: Mapping[Component, str] = MappingProxyType({"s": "s0", "c": "c0", "h": "h0"})
UNSKIPPABLE = ("s2.shutdown", "c8", "h5")
"""What no policy skips or overrides: a shutdown by heat, the owner's pause, a forked ledger."""
OPERATORS = ("c7", "h3")
"""What only the mesh's operator may override: where data may be, and by which policy to judge."""

UNMEASURED = 950
HALF_MEASURED = 970
"""Ceilings: of S, C and H when nothing is measured, and of S when one of two is."""
EARLY_MS = 1_000
"""How far ahead of its evidence a clock may stamp an item; what is later is unknown."""
POWER = ("s1", "s.power")
TEMPERATURE = ("s2", "s.temperature")
PRESSURE = ("c1.cpu", "c1.io", "c1.memory", "c5")
"""What lifts the ceilings of S and C when it is measured."""
