"""What an operator may change about placement."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """Settings of the router."""

    unknown_rate: float = setting(
        1e8,
        "ops per second assumed of a device that has not run the kernel yet",
        unit="ops/s",
        ge=1,
    )
    bandwidth_bytes: float = setting(
        1e8, "bytes per second assumed between nodes", unit="bytes/s", ge=1
    )
    rtt_s: float = setting(
        0.001,
        "round trip assumed to a node with which no pulse was exchanged yet",
        unit="s",
        ge=1e-6,
        le=60,
    )
    warming_s: float = setting(
        2.0, "start-up time assumed of a device that is still warming", unit="s", ge=0, le=600
    )
    start_s: float = setting(
        0.5, "time assumed until a runner serves where none is warm", unit="s", ge=0, le=600
    )
    share_s: float = setting(
        0.05, "work that is worth another runner", unit="s", ge=0.001, le=3_600
    )
    turn_s: float = setting(
        5.0,
        "wait assumed until a busy slot is handed on; as jobs.quantum_s",
        unit="s",
        ge=0,
        le=3_600,
    )
    hot_s: float = setting(
        30.0,
        "a device seen hot counts as hot for this long, so that work does not swing to and fro",
        unit="s",
        ge=0,
        le=3_600,
    )
    tried_slack: float = setting(
        4.0,
        "real work may be this many times faster than a canary said, when a deadline is judged",
        ge=1,
        le=1_000,
    )
    model_slack: float = setting(
        2.0,
        "a device may be this many times faster than others of its model, when a deadline is "
        "judged",
        ge=1,
        le=1_000,
    )
    hot_share: float = setting(
        0.25, "share of its rate that a hot device is trusted with", ge=0.01, le=1
    )
    near_best: float = setting(
        2.0, "a device this many times worse than the best is still drawn from", ge=1, le=1_000
    )
    memory_share: float = setting(
        0.9, "share of a device's memory that one task may take", ge=0.01, le=1
    )
