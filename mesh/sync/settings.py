"""Settings of the sync pulses."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How often clocks are compared, with whom, and how far they may run apart meanwhile."""

    pulse_s: float = setting(
        0.1, "Shortest mesh tick; pacing never goes below it.", unit="s", ge=0.01, le=10.0
    )
    pulse_max_s: float = setting(
        1.0, "Longest mesh tick; pacing never goes above it.", unit="s", ge=0.01, le=60.0
    )
    peers: int = setting(
        8, "Peers pulsed on each tick; in a larger mesh they are drawn anew.", ge=1, le=64
    )
    drift_ppm: float = setting(
        500.0,
        "How fast two clocks may run apart; the bound of an offset grows by this with its age. "
        "The kernel slews by at most 500 ppm (adjtime); two crystals differ by 200 at most.",
        unit="ppm",
        ge=1.0,
        le=100_000.0,
    )
    jump_s: float = setting(
        0.02,
        "A step of the wall clock against the monotonic one, from here on, discards all offsets.",
        unit="s",
        ge=0.001,
        le=10.0,
    )
    slow_factor: float = setting(
        2.0, "A member whose cycle exceeds the mesh tick this many times is marked slow.", ge=1.1
    )
    ntp_servers: tuple[str, ...] = setting(
        (),
        "NTP servers ('host' or 'host:port') as one more source. None by default: the public "
        "pool asks software not to ship its names (www.ntppool.org, vendors); name your own.",
    )
    ntp_period_s: float = setting(
        64.0, "How often each NTP server is asked.", unit="s", ge=1.0, le=86400.0
    )
    ntp_timeout_s: float = setting(
        2.0, "How long one NTP answer is awaited.", unit="s", ge=0.05, le=30.0
    )
