"""The signals: one table of what is looked at before work starts, and what is too bad to start.

A *ramp* turns a value into thousandths: 0 at its bad end, the hard limit; 1000 at its good end,
where it is comfortable. A signal without a ramp is a *fact*: it supports others, or a *stop*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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
        id: Its name in evidence, policies and refusals.
        code: Its number in decision records; never given to another.
        component: What it belongs to.
        name: What it is called, in a few words.
        unit: The unit of its values.
        measures: What its value is.
        bad: Millionths of the unit at the hard limit; None for facts.
        good: Millionths of the unit where it is comfortable.
        age_ms: Older evidence is unknown; ``NEVER_MS`` when it does not age.
        stop: Why work stops when its value is 0 (of ``s2.shutdown``, when it is not); else empty.
        stop_s: Within which time running work stops then.
        role: ``signal`` is scored, ``fact`` supports others, ``ceiling`` is computed.
    """

    id: str
    code: int
    component: Component
    name: str
    unit: str
    measures: str
    bad: int | None = None
    good: int | None = None
    age_ms: int = SENSOR_MS
    stop: str = ""
    stop_s: float = 0.0
    role: Literal["signal", "fact", "ceiling"] = "signal"


TABLE: tuple[Signal, ...] = (
    Signal(
        "s1",
        1,
        "s",
        "power headroom",
        "ratio",
        "share of the power cap left with the job",
        0,
        100_000,
    ),
    Signal(
        "s2",
        2,
        "s",
        "thermal margin",
        "celsius",
        "degrees below the limit with the job",
        0,
        10_000_000,
    ),
    Signal(
        "s2.slowdown",
        3,
        "s",
        "thermal slowdown",
        "flag",
        "1 while hardware slows down for heat",
        role="fact",
    ),
    Signal(
        "s2.shutdown",
        4,
        "s",
        "thermal shutdown",
        "flag",
        "1 when heat has shut the device down",
        age_ms=NEVER_MS,
        stop="thermal shutdown",
        stop_s=5.0,
    ),
    Signal(
        "s3",
        5,
        "s",
        "frugality",
        "ratio",
        "joules of the best feasible placement to this one's",
        330_000,
        800_000,
        CANARY_MS,
    ),
    Signal(
        "s4",
        6,
        "s",
        "energy budget",
        "ratio",
        "joules left in the window to those predicted",
        1_000_000,
        2_000_000,
        CANARY_MS,
    ),
    Signal(
        "s4.charge",
        7,
        "s",
        "battery",
        "ratio",
        "state of charge while on battery",
        200_000,
        400_000,
        CANARY_MS,
    ),
    Signal(
        "s5",
        8,
        "s",
        "carbon or price",
        "ratio",
        "percentile of this hour in the schedule",
        1_000_000,
        700_000,
        HOUR_MS,
    ),
    Signal(
        "s0",
        9,
        "s",
        "measurement of power and temperature",
        "ratio",
        "how much of S is measured",
        role="ceiling",
    ),
    Signal(
        "c1.cpu",
        20,
        "c",
        "CPU pressure on others",
        "ratio",
        "time in which others waited for CPU",
        400_000,
        100_000,
    ),
    Signal(
        "c1.io",
        21,
        "c",
        "IO pressure on others",
        "ratio",
        "time in which others waited for IO",
        400_000,
        100_000,
    ),
    Signal(
        "c1.memory",
        22,
        "c",
        "memory pressure on others",
        "ratio",
        "time in which others waited for memory",
        100_000,
        10_000,
    ),
    Signal(
        "c2", 23, "c", "a person is here", "seconds", "seconds since the last input", 0, 180_000_000
    ),
    Signal(
        "c3",
        24,
        "c",
        "CPU share of others",
        "ratio",
        "share of the CPU that others use",
        500_000,
        250_000,
    ),
    Signal(
        "c4.use",
        25,
        "c",
        "GPU use by others",
        "ratio",
        "share of the GPU that others use",
        500_000,
        100_000,
    ),
    Signal(
        "c4.memory",
        26,
        "c",
        "GPU memory left",
        "ratio",
        "share of the GPU's memory left with the job",
        20_000,
        100_000,
    ),
    Signal(
        "c5",
        27,
        "c",
        "wake-up latency",
        "seconds",
        "p99 lateness of a 50 Hz timer",
        50_000,
        5_000,
        CANARY_MS,
    ),
    Signal(
        "c6",
        28,
        "c",
        "consent and quiet hours",
        "flag",
        "1 while the owner's policy consents",
        age_ms=NEVER_MS,
        stop="no consent",
        stop_s=1.0,
    ),
    Signal(
        "c7",
        29,
        "c",
        "data zone",
        "flag",
        "1 when the job's data may be here",
        age_ms=NEVER_MS,
        stop="data zone",
        stop_s=1.0,
    ),
    Signal(
        "c8",
        30,
        "c",
        "owner's pause",
        "flag",
        "0 while the owner has paused this node",
        age_ms=NEVER_MS,
        stop="paused by the owner",
        stop_s=1.0,
    ),
    Signal(
        "c0",
        31,
        "c",
        "measurement of pressure or latency",
        "ratio",
        "whether C is measured",
        role="ceiling",
    ),
    Signal(
        "h1",
        40,
        "h",
        "clock",
        "seconds",
        "clock offset to the mesh plus its bound",
        50_000,
        5_000,
        CANARY_MS,
    ),
    Signal(
        "h2",
        41,
        "h",
        "agreement of results",
        "ratio",
        "share of audits that agreed",
        900_000,
        980_000,
        DAY_MS,
    ),
    Signal(
        "h3",
        42,
        "h",
        "policy and version",
        "ratio",
        "1 same policy, 0.97 the previous, 0 unknown",
        0,
        1_000_000,
        NEVER_MS,
        "policy unknown",
        5.0,
    ),
    Signal(
        "h4",
        43,
        "h",
        "view of the mesh",
        "ratio",
        "likeness of live sets, median over peers",
        500_000,
        900_000,
        CANARY_MS,
    ),
    Signal(
        "h5",
        44,
        "h",
        "ledger",
        "flag",
        "0 when this node's ledger was found forked",
        age_ms=NEVER_MS,
        stop="forked ledger",
        stop_s=5.0,
    ),
    Signal("h0", 45, "h", "word from peers", "ratio", "whether peers were heard", role="ceiling"),
    Signal("s.power", 60, "s", "power", "watts", "power drawn", role="fact"),
    Signal(
        "s.limit",
        61,
        "s",
        "power limit",
        "watts",
        "the board's own limit",
        age_ms=CANARY_MS,
        role="fact",
    ),
    Signal(
        "s.temperature",
        62,
        "s",
        "temperature",
        "celsius",
        "hottest sensor of the device",
        role="fact",
    ),
    Signal("s.energy", 63, "s", "energy", "joules", "reading of the energy counter", role="fact"),
    Signal(
        "h.known",
        64,
        "h",
        "peers ever known",
        "count",
        "0 makes a node solo by design",
        age_ms=NEVER_MS,
        role="fact",
    ),
    Signal(
        "h.fresh",
        65,
        "h",
        "peers heard",
        "count",
        "peers that were heard within a minute",
        age_ms=CANARY_MS,
        role="fact",
    ),
)

SIGNALS: Mapping[str, Signal] = MappingProxyType({each.id: each for each in TABLE})
BY_CODE: Mapping[int, Signal] = MappingProxyType({each.code: each for each in TABLE})
UNSKIPPABLE = ("c8", "h5")
"""What no policy may skip or override: the owner's pause, and a ledger that was found forked."""
