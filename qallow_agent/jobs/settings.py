"""What an operator may change about jobs, leases and dispatch."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Settings of the desk (owner side) and the bench (executor side)."""

    max_jobs: int = setting(1_000, "unfinished jobs one desk owns", ge=1, le=100_000)
    max_slots: int = setting(256, "runners one job may hold at a time", ge=1, le=4_096)
    lease_answer_s: float = setting(
        125.0,
        "wait for a bench to grant or refuse; a little more than runner_start_s",
        unit="s",
        ge=1,
        le=600,
    )
    lease_patience_s: float = setting(
        5.0,
        "look for other devices too when a bench has not answered by then",
        unit="s",
        ge=0.1,
        le=600,
    )
    lease_resend_s: float = setting(
        3.0, "ask a silent bench again after this long", unit="s", ge=0.1, le=60
    )
    avoid_s: float = setting(
        5.0, "leave a device that refused or failed alone for this long", unit="s", ge=0, le=600
    )
    placement_retry_s: float = setting(
        0.5, "first pause before placing a starved job again; doubles", unit="s", ge=0.05, le=60
    )
    placement_retry_max_s: float = setting(
        5.0, "longest pause before placing a starved job again", unit="s", ge=0.05, le=600
    )
    submitter_silence_s: float = setting(
        60.0, "a submitter silent this long loses its leases", unit="s", ge=2, le=86_400
    )
    reclaim_s: float = setting(
        30.0,
        "a job with an idempotency key waits this long for its vanished client",
        unit="s",
        ge=0,
        le=86_400,
    )
    retain_jobs: int = setting(500, "finished jobs remembered", ge=0, le=100_000)
    retain_s: float = setting(86_400.0, "how long finished jobs are remembered", unit="s", ge=0)
    retain_bytes: int = setting(
        64 << 20,
        "retained results in all; held in memory and on disk, oldest go first",
        unit="bytes",
        ge=0,
        le=16 << 30,
    )
    checkpoint_bytes: int = setting(
        64 << 20,
        "states of long runs kept for jobs that retain; in memory and on disk, oldest go first",
        unit="bytes",
        ge=0,
        le=16 << 30,
    )
    checkpoints_kept: int = setting(
        16, "states kept of one job; old ones are thinned out", ge=1, le=10_000
    )
    lease_ttl_s: float = setting(
        10.0, "life of a lease that is not renewed; renewed at a third", unit="s", ge=1, le=600
    )
    credits: int = setting(1_024, "tasks in flight under one lease", ge=1, le=65_536)
    runner_start_s: float = setting(
        120.0,
        "a runner that is not ready by then is killed; a slow box compiles its kernels first",
        unit="s",
        ge=1,
        le=600,
    )
    runner_stop_s: float = setting(
        10.0, "a runner told to stop and still there by then is killed", unit="s", ge=1, le=600
    )
    runner_idle_s: float = setting(
        60.0, "a runner without a lease this long is retired", unit="s", ge=0, le=86_400
    )
    runner_failures: int = setting(
        3, "starts that may fail in a row before the device counts as lost", ge=1, le=100
    )
    queue_s: float = setting(
        10.0, "a lease request waits this long for a free runner", unit="s", ge=0, le=600
    )
    queue_length: int = setting(64, "lease requests waiting per device", ge=0, le=4_096)
    task_limit_s: float = setting(
        3_600.0, "a task running longer takes its runner down", unit="s", ge=0.1, le=31_536_000
    )
    release_grace_s: float = setting(
        2.0, "a task of a released lease may run on this long", unit="s", ge=0, le=600
    )
    quantum_s: float = setting(
        5.0, "a lease is safe from others that wait for this long", unit="s", ge=0.1, le=3_600
    )
    aging_s: float = setting(
        10.0,
        "a job rises by one priority for every so long that it waits for its first runner",
        unit="s",
        ge=0.1,
        le=86_400,
    )
    idle_lease_s: float = setting(
        10.0, "a lease idle this long goes to others that wait", unit="s", ge=0.1, le=3_600
    )
    canary_period_s: float = setting(
        300.0, "known-answer tests repeat this often while runners live", unit="s", ge=1, le=86_400
    )
    canary_limit_s: float = setting(
        60.0, "a known-answer test that takes longer has failed", unit="s", ge=1, le=3_600
    )
    lost_retry_s: float = setting(
        30.0, "a lost device is tried again this often", unit="s", ge=1, le=86_400
    )
    canary_failures: int = setting(
        3, "rounds of canaries that may fail in a row before quarantine", ge=1, le=1_000
    )
    quarantine_canaries: int = setting(
        3, "rounds of canaries in a row that end a quarantine", ge=1, le=1_000
    )
    quarantine_pause_s: float = setting(
        10.0, "pause between the rounds of canaries in quarantine", unit="s", ge=0, le=86_400
    )
    quarantine_audits: int = setting(
        20,
        "copies of real work that must agree with others' answers, after one that did not",
        ge=0,
        le=1_000,
    )
    most_dissents: int = setting(
        3,
        "answers within an hour that one other device contradicts, before a device is tried",
        ge=1,
        le=1_000,
    )
    cool_margin_c: float = setting(
        5.0, "a hot device is cool again this far below its limit", unit="C", ge=0, le=50
    )
    cool_hold_s: float = setting(
        15.0, "a hot device must stay cool for this long", unit="s", ge=0, le=3_600
    )
    hot_share: float = setting(
        0.25, "share of a hot device's slots that may be leased anew; at least one", ge=0, le=1
    )


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Settings of the dispatcher, which runs in the submitter."""

    slice_s: float = setting(
        0.05,
        "work per slice of a sweep: long against 1 ms of overhead, short to lose or to steal",
        unit="s",
        ge=0.001,
        le=60,
    )
    slice_least_s: float = setting(
        0.005, "work per slice at the tail of a sweep", unit="s", ge=0.0001, le=60
    )
    slice_first_points: int = setting(64, "points of the first, measuring slice", ge=1)
    slice_most_points: int = setting(1_000_000, "points of the largest slice", ge=1)
    slice_growth: float = setting(
        8.0, "a slice is at most this much larger than any before it", ge=1.1, le=1_000
    )
    slices_ahead: int = setting(3, "slices in flight per runner", ge=1, le=64)
    ahead_s: float = setting(
        0.1, "work in flight per runner: hides the network, cheap to lose", unit="s", ge=0, le=60
    )
    ahead_bytes: int = setting(64 << 20, "input arrays in flight per runner", unit="bytes", ge=1)
    batch_tasks: int = setting(512, "tasks coalesced into one parcel", ge=1, le=10_000)
    hedge_factor: float = setting(
        3.0, "a task this many times later than expected is started a second time", ge=1, le=1_000
    )
    hedge_after_s: float = setting(
        0.5, "no late task is started a second time before this", unit="s", ge=0.01, le=3_600
    )
    steal_factor: float = setting(
        1.5,
        "an idle runner takes over what it would finish this many times sooner",
        ge=1,
        le=1_000,
    )
    tie_s: float = setting(
        10.0,
        "two devices that disagree wait this long for a third to decide",
        unit="s",
        ge=0.1,
        le=3_600,
    )
    poison_strikes: int = setting(2, "runners a task may kill before it fails", ge=1, le=100)
    most_kills: int = setting(24, "runners a job may kill before all of it fails", ge=1, le=10_000)
    most_splits: int = setting(
        256, "times faulty slices are split to find the faulty points", ge=0, le=1_000_000
    )
