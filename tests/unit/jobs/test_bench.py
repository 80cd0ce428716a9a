"""The bench: canaries, grants, turns, limits, and every way a runner or a desk goes away."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.machine import Announce, Effect, Reply, Send, Start, Stop
from qallow_agent.base.message import Message
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.leases import verify_lease
from qallow_agent.jobs.local import (
    Allow,
    BenchChanged,
    CanaryDone,
    Forbid,
    RunCanary,
    RunnerBusy,
    RunnerExited,
    RunnerReady,
    RunnerRests,
    RunnerTally,
)
from qallow_agent.jobs.messages import (
    LeaseGrant,
    LeaseRefusal,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    LeaseRevoked,
)
from qallow_agent.jobs.model import (
    ADMITTED,
    DEFERRED,
    Admission,
    BenchDevice,
    KernelOffer,
    LeaseEnd,
)
from qallow_agent.jobs.settings import JobSettings

SETTINGS = JobSettings(task_limit_s=100.0, runner_start_s=30.0, canary_limit_s=60.0)
CPU = BenchDevice("cpu0", "cpu", 2, 1 << 30)
GPU = BenchDevice("gpu0", "cuda", 1, 1 << 30, usable=False, why="no CUDA kernels in this build")


class Stage:
    """A bench and the runners it believes in."""

    def __init__(self, tools: SimpleNamespace, *devices: BenchDevice, **changes: Any) -> None:
        self.tools = tools
        self.me = tools.IDENTITY.id
        self.bench = Bench(
            me=self.me, node_name="box", identity=tools.IDENTITY, hosts=("10.0.0.1",),
            kernels=[
                KernelOffer("harmonic", tools.HASH, ("cpu",)),
                KernelOffer("elasticity", "e" * 64, ("cpu",)),
                *changes.pop("more", ()),
            ],
            settings=changes.pop("settings", SETTINGS), rng=tools.rng,
        )  # fmt: skip
        self.now = 0.0
        self.alive: list[str] = []
        self.keep(self.bench.set_devices(devices or (CPU,), tools.at(0.0)))

    def keep(self, effects: list[Effect]) -> list[Effect]:
        self.bench.check()
        for each in effects:
            if isinstance(each, Start):
                self.alive.append(each.runner)
        return effects

    def say(self, sender: str, message: Message) -> list[Effect]:
        return self.keep(self.bench.receive(sender, message, self.tools.at(self.now)))

    def runner(self, index: int, message: Message) -> list[Effect]:
        return self.say(f"@runner/{self.alive[index]}", message)

    def ready(self, index: int = -1) -> list[Effect]:
        return self.runner(index, RunnerReady(5000, self.tools.KEY, 1))

    def exit(self, index: int, reason: str = "SIGSEGV", **blame: Any) -> list[Effect]:
        effects = self.runner(index, RunnerExited(reason, **blame))
        del self.alive[index]
        return effects

    def canary(self, kernel: str, index: int = 0, **changes: Any) -> list[Effect]:
        done = CanaryDone(kernel, **{"passed": True, "rate": 1e9, **changes})
        return self.runner(index, done)

    def warm(self) -> "Stage":
        self.ready()
        self.canary("elasticity")
        self.canary("harmonic")
        return self

    def tick(self, until: float) -> list[Effect]:
        effects: list[Effect] = []
        while (due := self.bench.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.keep(self.bench.tick(self.tools.at(self.now)))
        self.now = until
        return effects

    def ask(self, desk: str = "desk", job: str = "job-1", slots: int = 1, **changes: Any) -> Any:
        fields: dict[str, Any] = {
            "job": job, "kernel": "harmonic", "kernel_hash": self.tools.HASH, "device": "cpu0",
            "slots": slots, "submitter_key": self.tools.KEY, "memory_bytes": 1 << 20,
        }  # fmt: skip
        return self.say(desk, LeaseRequest(**{**fields, **changes}))

    def lease(self, **changes: Any) -> Any:
        (grant,) = sent(self.ask(**changes), LeaseGrant)
        return grant.lease

    @property
    def state(self) -> Any:
        return self.bench.device_states()[0]


def sent(effects: list[Effect], kind: type, to: str | None = None) -> list[Any]:
    return [
        each.message
        for each in effects
        if isinstance(each, Send | Reply | Announce)
        and isinstance(each.message, kind)
        and (to is None or getattr(each, "to", None) == to)
    ]


def of(effects: list[Effect], kind: type) -> list[Any]:
    return [each for each in effects if isinstance(each, kind)]


@pytest.fixture
def stage(tools: SimpleNamespace) -> Stage:
    return Stage(tools).warm()


def test_a_new_device_earns_its_state_with_canaries(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    assert stage.state.state == "warming"
    assert sent(stage.ready(), RunCanary)[0].kernel == "elasticity"
    assert sent(stage.canary("elasticity"), RunCanary)[0].kernel == "harmonic"
    effects = stage.canary("harmonic")
    assert sent(effects, BenchChanged)
    assert (stage.state.state, stage.state.rates["harmonic"]) == ("ok", 1e9)


def test_a_failed_canary_loses_the_device_until_it_passes_again(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ready()
    stage.ask()
    effects = stage.canary("elasticity", passed=False, why="c is 0.98, known is 0.99")
    assert sent(effects, LeaseRefusal, "desk")
    assert of(effects, Stop) == [Stop(stage.alive[0], kill=True)]
    assert (stage.state.state, stage.state.why) == (
        "lost", "the canary of elasticity failed: c is 0.98, known is 0.99",
    )  # fmt: skip
    stage.exit(0)
    assert sent(stage.ask(), LeaseRefusal)[0].code == "no-device"
    assert not of(stage.tick(29.0), Start)
    assert of(stage.tick(30.0), Start)
    assert stage.state.state == "lost"
    stage.warm()
    assert stage.state.state == "ok"


def test_a_runner_that_dies_in_its_canary_loses_the_device(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ready()
    stage.exit(0)
    assert "died in the canary of elasticity" in stage.state.why


def test_a_canary_that_never_ends_loses_the_device(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ready()
    assert of(stage.tick(60.0), Stop)[0].kill
    assert stage.state.state == "lost"


def test_a_device_whose_runners_do_not_start_is_lost(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.exit(0)
    stage.exit(0)
    assert stage.state.state == "warming"
    stage.exit(0)
    assert "3 runners in a row did not start" in stage.state.why


def test_a_runner_that_is_never_ready_is_killed(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    assert of(stage.tick(30.0), Stop) == [Stop(stage.alive[0], kill=True)]
    assert of(stage.exit(0), Start)


def test_an_unusable_device_gets_no_runner_and_no_lease(tools: SimpleNamespace) -> None:
    stage = Stage(tools, GPU)
    assert stage.alive == []
    assert stage.state.state == "quarantined"
    (refusal,) = sent(stage.ask(device="gpu0"), LeaseRefusal)
    assert "no CUDA kernels" in refusal.reason


def test_a_request_gets_a_signed_lease_its_runner_knows(stage: Stage) -> None:
    effects = stage.ask()
    (allow,), (grant,) = sent(effects, Allow), sent(effects, LeaseGrant, "desk")
    lease = grant.lease
    verify_lease(lease, stage.tools.IDENTITY.public)
    assert (lease.hosts, lease.port, lease.credits) == (("10.0.0.1",), 5000, SETTINGS.credits)
    assert (allow.lease, allow.submitter_key) == (lease.id, stage.tools.KEY)
    assert (stage.state.busy, len(stage.bench.leases())) == (1, 1)
    assert [type(each) for each in effects[:2]] == [Reply, Send]  # the runner knows first


def test_more_runners_are_started_on_demand_up_to_the_slots(stage: Stage) -> None:
    effects = stage.ask(slots=5)
    assert len(sent(effects, LeaseGrant)) == 1
    assert len(of(effects, Start)) == 1
    assert len(sent(stage.ready(), LeaseGrant)) == 1
    assert not of(stage.ask(job="job-2"), Start)


def test_a_request_sent_again_is_not_served_twice(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ask(slots=1)
    stage.ask(slots=1)
    stage.ready()
    stage.canary("elasticity")
    assert len(sent(stage.canary("harmonic"), LeaseGrant)) == 1
    assert stage.state.waiting == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device": "cpu9"}, "no-device"),
        ({"kernel": "unheard-of"}, "unknown-kernel"),
        ({"kernel_hash": "b" * 64}, "unknown-kernel"),
        ({"memory_bytes": 2 << 30}, "device-memory"),
        ({"submitter_key": b"short"}, "malformed"),
        ({"slots": 0}, "malformed"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    stage: Stage, changes: dict[str, Any], code: str
) -> None:
    (refusal,) = sent(stage.ask(**changes), LeaseRefusal, "desk")
    assert refusal.code == code
    assert refusal.reason


def test_requests_wait_briefly_and_in_bounds(tools: SimpleNamespace) -> None:
    settings = JobSettings(queue_length=1, quantum_s=1000.0, idle_lease_s=1000.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0), settings=settings).warm()
    stage.ask()
    assert stage.ask(job="job-2") == [Announce(BenchChanged())]
    (refusal,) = sent(stage.ask(job="job-3"), LeaseRefusal)
    assert (refusal.job, "already wait" in refusal.reason) == ("job-3", True)
    for second in range(1, 10):
        stage.say("desk", LeaseRenew(tuple(stage.bench._tenancies.stations)))
        assert not sent(stage.tick(second), LeaseRefusal)
    effects = stage.tick(11.0)
    assert "all 1 slots of cpu0 are busy" in sent(effects, LeaseRefusal)[0].reason


def test_a_released_runner_serves_the_next_lease(stage: Stage) -> None:
    lease = stage.lease()
    effects = stage.say("desk", LeaseRelease((lease.id,)))
    assert sent(effects, Forbid)[0].lease == lease.id
    assert stage.lease(job="job-2").runner == lease.runner
    assert len(stage.alive) == 1


def test_only_the_desk_of_a_lease_may_release_or_renew_it(stage: Stage) -> None:
    lease = stage.lease()
    assert not sent(stage.say("evil", LeaseRelease((lease.id,))), Forbid)
    (revoked,) = sent(stage.say("evil", LeaseRenew((lease.id,))), LeaseRevoked, "evil")
    assert revoked.code == LeaseEnd.UNKNOWN
    assert len(stage.bench.leases()) == 1


def test_a_lease_lives_while_it_is_renewed_and_expires_after(stage: Stage) -> None:
    lease = stage.lease()
    for second in (3, 6, 9, 12):
        assert not sent(stage.tick(second), LeaseRevoked)
        assert sent(stage.say("desk", LeaseRenew((lease.id,))), Allow)
    effects = stage.tick(22.0)
    assert sent(effects, LeaseRevoked, "desk")[0].code == LeaseEnd.EXPIRED
    assert sent(effects, Forbid)
    assert len(stage.bench.leases()) == 0


def test_a_restarted_bench_says_that_it_knows_no_lease(stage: Stage) -> None:
    (revoked,) = sent(stage.say("desk", LeaseRenew(("lease-old",))), LeaseRevoked, "desk")
    assert revoked.code == LeaseEnd.UNKNOWN


def test_a_crash_names_the_task_that_caused_it(stage: Stage) -> None:
    lease = stage.lease()
    effects = stage.exit(0, lease=lease.id, task=7, attempt=2)
    (revoked,) = sent(effects, LeaseRevoked, "desk")
    assert (revoked.code, revoked.task, revoked.attempt) == (LeaseEnd.CRASHED, 7, 2)
    assert stage.state.state == "ok"
    assert of(stage.ask(), Start)


def test_a_crash_in_a_task_of_an_earlier_lease_blames_nobody(stage: Stage) -> None:
    stage.lease()
    effects = stage.exit(0, lease="lease-old", task=7, attempt=2)
    assert sent(effects, LeaseRevoked)[0].task is None


def test_a_task_past_its_limit_takes_its_runner_down(stage: Stage) -> None:
    lease = stage.lease(task_limit_s=5.0)
    assert stage.runner(0, RunnerBusy(lease.id, 3, 1, 4.9)) == []
    effects = stage.runner(0, RunnerBusy(lease.id, 3, 1, 5.1))
    (revoked,) = sent(effects, LeaseRevoked)
    assert (revoked.code, revoked.task, revoked.attempt) == (LeaseEnd.OVERRAN, 3, 1)
    assert of(effects, Stop)[0].kill
    assert not sent(stage.exit(0, lease=lease.id, task=3, attempt=1), LeaseRevoked)


def test_no_task_may_outlast_the_limit_of_the_bench(stage: Stage) -> None:
    lease = stage.lease(task_limit_s=float("nan"))
    assert sent(stage.runner(0, RunnerBusy(lease.id, 3, 1, 100.5)), LeaseRevoked)


def test_a_task_that_goes_on_after_its_lease_is_killed(stage: Stage) -> None:
    lease = stage.lease()
    stage.runner(0, RunnerBusy(lease.id, 3, 1, 1.0))
    stage.say("desk", LeaseRelease((lease.id,)))
    stage.now = 1.5
    stage.runner(0, RunnerBusy(lease.id, 3, 1, 2.5))
    assert of(stage.tick(2.0), Stop)[0].kill


def test_a_task_that_ends_soon_after_its_lease_spares_its_runner(stage: Stage) -> None:
    lease = stage.lease()
    stage.runner(0, RunnerBusy(lease.id, 3, 1, 1.0))
    stage.say("desk", LeaseRelease((lease.id,)))
    assert not of(stage.tick(3.0), Stop)
    assert stage.lease(job="job-2").runner == lease.runner


def test_a_runner_seen_at_rest_after_its_lease_serves_the_next_at_once(stage: Stage) -> None:
    lease = stage.lease()
    stage.runner(0, RunnerBusy(lease.id, 3, 1, 1.0))
    stage.say("desk", LeaseRelease((lease.id,)))
    assert not sent(stage.ask(job="job-2"), LeaseGrant)
    (grant,) = sent(stage.runner(0, RunnerRests()), LeaseGrant)
    assert grant.lease.runner == lease.runner


def test_a_runner_stuck_in_an_old_task_is_killed_without_blame(stage: Stage) -> None:
    old = stage.lease()
    stage.say("desk", LeaseRelease((old.id,)))
    stage.lease(job="job-2")
    stage.now = 1.0
    assert stage.runner(0, RunnerBusy(old.id, 3, 1, 1.0)) == []
    stage.now = 3.0
    effects = stage.runner(0, RunnerBusy(old.id, 3, 1, 3.0))
    (revoked,) = sent(effects, LeaseRevoked)
    assert (revoked.code, revoked.task) == (LeaseEnd.PREEMPTED, None)
    assert of(effects, Stop)[0].kill


def test_an_idle_runner_is_retired(stage: Stage) -> None:
    effects = stage.tick(60.0)
    assert of(effects, Stop) == [Stop(stage.alive[0])]
    stage.exit(0, "ended")
    assert stage.bench.idle()
    assert stage.state.state == "ok"


def test_a_runner_that_will_not_stop_is_killed_and_then_forgotten(stage: Stage) -> None:
    stage.tick(60.0)
    assert of(stage.tick(70.0), Stop)[0].kill
    assert of(stage.tick(80.0), Stop)[0].kill
    assert stage.bench.idle()
    assert stage.runner(0, RunnerExited("late")) == []


def test_a_dead_desk_frees_its_runners_and_its_place_in_the_queue(stage: Stage) -> None:
    stage.ask("dead", "job-1", 1)
    stage.ask("dead", "job-1", 2)
    effects = stage.keep(stage.bench.member_down("dead", stage.tools.at(1.0)))
    assert sent(effects, Forbid)
    assert (len(stage.bench.leases()), stage.state.waiting) == (0, 0)


def lively(stage: Stage, until: int, *desks: str) -> list[Effect]:
    """Let time pass while desks renew all their leases and the runners do small tasks."""
    effects: list[Effect] = []
    for second in range(int(stage.now) + 1, until + 1):
        effects += stage.tick(float(second))
        for desk in desks:
            mine = [each.tenancy.lease.id for each in stage.bench._tenancies.of_desk(desk)]
            stage.say(desk, LeaseRenew(tuple(mine)))
        for index in range(len(stage.alive)):
            effects += stage.runner(index, RunnerTally("harmonic", 10, 10, 1e9, 0.5))
    return effects


def test_leases_go_round_when_others_wait(tools: SimpleNamespace) -> None:
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0)).warm()
    stage.ask("greedy", "job-1")
    assert not sent(stage.ask("modest", "job-2"), LeaseGrant)
    effects = lively(stage, 4, "greedy")
    assert not sent(effects, LeaseRevoked)
    effects = lively(stage, 6, "greedy")
    assert sent(effects, LeaseRevoked, "greedy")[0].code == LeaseEnd.PREEMPTED
    assert sent(effects, LeaseGrant, "modest")


def test_a_desk_with_many_jobs_does_not_crowd_out_another(tools: SimpleNamespace) -> None:
    stage = Stage(tools).warm()
    for job in ("job-1", "job-2", "job-3", "job-4"):
        stage.ask("busy", job)
    stage.ask("other", "job-5")
    assert sent(stage.ready(), LeaseGrant, "other")


def test_a_fair_share_is_not_taken_away(stage: Stage) -> None:
    stage.ask("one", "job-1")
    stage.ask("two", "job-2")
    stage.ready()
    stage.ask("one", "job-1")
    stage.ask("two", "job-2")
    assert not sent(lively(stage, 9, "one", "two"), LeaseRevoked)


def test_a_long_task_is_not_interrupted_for_others(tools: SimpleNamespace) -> None:
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0)).warm()
    lease = stage.lease(desk="greedy")
    stage.ask("modest", "job-2")
    for second in range(1, 9):
        stage.runner(0, RunnerBusy(lease.id, 1, 1, float(second)))
        assert not sent(lively(stage, second, "greedy"), LeaseRevoked)


def test_an_idle_lease_goes_to_who_waits(tools: SimpleNamespace) -> None:
    settings = JobSettings(quantum_s=1000.0, idle_lease_s=4.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0), settings=settings).warm()
    stage.ask("lazy", "job-1")
    stage.ask("keen", "job-2")
    effects = stage.tick(5.0)
    assert sent(effects, LeaseRevoked, "lazy")[0].code == LeaseEnd.IDLE
    assert sent(effects, LeaseGrant, "keen")


def test_canaries_are_repeated_while_runners_live(tools: SimpleNamespace) -> None:
    settings = JobSettings(canary_period_s=20.0)
    stage = Stage(tools, settings=settings).warm()
    lease = stage.lease()
    stage.now = 25.0
    stage.say("desk", LeaseRenew((lease.id,)))
    effects = stage.say("desk", LeaseRelease((lease.id,)))
    assert sent(effects, RunCanary)
    assert stage.state.state == "ok"
    effects = stage.canary("elasticity", passed=False, why="wrong")
    assert stage.state.state == "lost"


def test_a_device_that_fails_loses_its_leases(stage: Stage) -> None:
    stage.lease()
    effects = stage.keep(stage.bench.set_devices((), stage.tools.at(1.0)))
    assert sent(effects, LeaseRevoked, "desk")[0].code == LeaseEnd.UNFIT
    assert stage.state.state == "lost"
    stage.exit(0, "killed")
    assert stage.bench.set_devices((), stage.tools.at(2.0)) == []
    effects = stage.keep(stage.bench.set_devices((CPU,), stage.tools.at(3.0)))
    assert of(effects, Start)
    assert stage.state.state == "warming"


def test_rates_follow_what_runners_measure(stage: Stage) -> None:
    assert stage.state.tried == ("elasticity", "harmonic")
    stage.runner(0, RunnerTally("harmonic", 10, 10, 3e9, 1.0))
    assert stage.state.rates["harmonic"] == pytest.approx(3e9)
    assert stage.state.tried == ("elasticity",)
    stage.runner(0, RunnerTally("harmonic", 10, 10, 0.5e9, 1.0))
    assert stage.state.rates["harmonic"] == pytest.approx(2.25e9)
    for tally in (
        RunnerTally("harmonic", 1, 1, float("nan"), 1.0),
        RunnerTally("harmonic", 1, 1, 1e9, 0.0),
        RunnerTally("unheard-of", 1, 1, 1e9, 1.0),
    ):
        stage.runner(0, tally)
    assert stage.state.rates == {"elasticity": 1e9, "harmonic": pytest.approx(2.25e9)}


def test_of_short_tasks_only_the_better_rate_is_believed(stage: Stage) -> None:
    stage.runner(0, RunnerTally("harmonic", 10_000, 10_000, 1e6, 1.0))
    assert stage.state.rates["harmonic"] == 1e9
    stage.runner(0, RunnerTally("harmonic", 10_000, 10_000, 5e9, 1.0))
    assert stage.state.rates["harmonic"] == pytest.approx(2.2e9)
    assert "harmonic" in stage.state.tried


def test_a_higher_priority_takes_the_place_of_a_lower_one_in_a_full_queue(
    tools: SimpleNamespace,
) -> None:
    settings = JobSettings(queue_length=1, quantum_s=1000.0, idle_lease_s=1000.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0), settings=settings).warm()
    stage.ask()
    stage.ask(job="job-2")
    (refusal,) = sent(stage.ask(job="job-3", priority=1), LeaseRefusal)
    assert refusal.job == "job-2"
    (refusal,) = sent(stage.ask(job="job-4"), LeaseRefusal)
    assert refusal.job == "job-4"


def test_a_higher_priority_is_served_first(tools: SimpleNamespace) -> None:
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0)).warm()
    lease = stage.lease(job="job-1")
    stage.ask(job="job-2")
    stage.ask(job="job-3", priority=5)
    effects = stage.say("desk", LeaseRelease((lease.id,)))
    assert sent(effects, LeaseGrant)[0].lease.job == "job-3"


def test_a_higher_priority_takes_a_lease_after_its_quantum_and_not_before(
    tools: SimpleNamespace,
) -> None:
    stage = Stage(tools).warm()
    stage.ask("low", "job-1", priority=-1)
    stage.ask("low", "job-2", priority=-1)
    stage.ready()
    stage.ask("high", "job-3", slots=2, priority=3)
    assert not sent(lively(stage, 4, "low", "high"), LeaseRevoked)
    effects = lively(stage, 9, "low", "high")
    assert [each.reason for each in sent(effects, LeaseRevoked, "low")] == [
        "a job of priority 3 waits"
    ] * 2
    assert len(sent(effects, LeaseGrant, "high")) == 2


def test_a_lower_priority_never_takes_a_turn_from_a_higher_one_until_it_has_waited(
    tools: SimpleNamespace,
) -> None:
    settings = JobSettings(aging_s=10.0, queue_s=100.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0), settings=settings).warm()
    stage.ask("high", "job-1", priority=1)
    stage.ask("low", "job-2", priority=0)
    assert not sent(lively(stage, 9, "high"), LeaseRevoked)
    assert sent(lively(stage, 22, "high"), LeaseGrant, "low")


def test_time_waited_elsewhere_counts_and_nonsense_does_not(tools: SimpleNamespace) -> None:
    settings = JobSettings(aging_s=10.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 1, 0), settings=settings).warm()
    lease = stage.lease(job="job-1")
    stage.ask(job="job-2", waited_s=float("nan"))
    stage.ask(job="job-3", priority=10**30)
    stage.ask(job="job-4", priority=-(10**30), waited_s=float("inf"))
    stage.ask(job="job-5", priority=1, waited_s=1e3)
    order = []
    for _ in range(4):
        (grant,) = sent(stage.say("desk", LeaseRelease((lease.id,))), LeaseGrant)
        lease = grant.lease
        order.append(lease.job)
    assert order == ["job-4", "job-5", "job-3", "job-2"]


def test_leases_share_the_memory_of_their_device(tools: SimpleNamespace) -> None:
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 2, 100 << 20)).warm()
    first = stage.lease(job="job-1", memory_bytes=70 << 20)
    assert stage.state.reserved_bytes == 70 << 20
    waits = stage.ask(job="job-2", memory_bytes=40 << 20)
    assert not sent(waits, LeaseGrant)
    assert not of(waits, Start)
    small = stage.ask(job="job-3", memory_bytes=20 << 20)
    assert of(small, Start)
    assert sent(stage.ready(), LeaseGrant)[0].lease.job == "job-3"
    effects = stage.say("desk", LeaseRelease((first.id,)))
    assert sent(effects, LeaseGrant)[0].lease.job == "job-2"


def test_who_waits_for_memory_is_told_so(tools: SimpleNamespace) -> None:
    settings = JobSettings(quantum_s=1000.0, idle_lease_s=1000.0, aging_s=1000.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 2, 100 << 20), settings=settings).warm()
    stage.lease(job="job-1", memory_bytes=70 << 20)
    stage.ask(job="job-2", memory_bytes=40 << 20)
    (refusal,) = sent(lively(stage, 11, "desk"), LeaseRefusal)
    assert refusal.reason == (
        "70.0 MiB of the 100.0 MiB of cpu0 are promised to leases, a task needs 40.0 MiB"
    )


def test_room_is_kept_for_who_has_waited_long_for_memory(tools: SimpleNamespace) -> None:
    settings = JobSettings(aging_s=3.0, quantum_s=1000.0, idle_lease_s=1000.0)
    stage = Stage(tools, BenchDevice("cpu0", "cpu", 2, 100 << 20), settings=settings).warm()
    first = stage.lease(job="job-1", memory_bytes=70 << 20)
    stage.ask(job="job-2", memory_bytes=90 << 20)
    lively(stage, 4, "desk")
    assert not sent(stage.ask(job="job-3", memory_bytes=1 << 20), LeaseGrant)
    effects = stage.say("desk", LeaseRelease((first.id,)))
    assert sent(effects, LeaseGrant)[0].lease.job == "job-2"


def test_draining_refuses_revokes_and_stops_politely(stage: Stage) -> None:
    stage.lease()
    stage.ask(job="job-2")
    effects = stage.keep(stage.bench.drain(stage.tools.at(1.0)))
    assert sent(effects, LeaseRevoked)[0].code == LeaseEnd.DRAINING
    assert sent(effects, LeaseRefusal)
    assert {each.kill for each in of(effects, Stop)} == {False}
    assert sent(stage.ask(job="job-3"), LeaseRefusal)[0].reason == "the agent is stopping"
    while stage.alive:
        assert not of(stage.exit(0, "ended"), Start)
    assert stage.bench.idle()


def test_nobody_but_a_runner_speaks_for_a_runner(stage: Stage) -> None:
    assert stage.say(stage.alive[0], RunnerExited("forged")) == []
    assert stage.say("@runner/unknown", RunnerExited("late")) == []
    assert stage.say("@control/1/1", LeaseRelease(())) == []
    assert stage.ready(0) == []  # ready twice


def test_a_runner_with_a_senseless_address_is_killed(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    assert of(stage.runner(0, RunnerReady(0, b"", 1)), Stop)[0].kill


def test_a_canary_nobody_asked_for_proves_nothing(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ready()
    assert stage.canary("harmonic") == []
    assert stage.state.state == "warming"


def test_senseless_canary_rates_are_not_advertised(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    stage.ready()
    stage.canary("elasticity", rate=float("inf"))
    stage.canary("harmonic", rate=-1.0)
    assert (stage.state.state, stage.state.rates) == ("ok", {})


PLUG_IN = KernelOffer("plug-in", "f" * 64, ("cpu",), foreign=True)
ADA, BOB = b"a" * 32, b"b" * 32
ONE_SLOT = BenchDevice("cpu0", "cpu", 1, 1 << 30)


def plug_in(stage: Stage, submitter_key: bytes, desk: str = "desk") -> Any:
    return stage.ask(
        desk, job=f"job-of-{submitter_key[:1].decode()}", kernel="plug-in", kernel_hash="f" * 64,
        submitter_key=submitter_key,
    )  # fmt: skip


def soiled(tools: SimpleNamespace, **changes: Any) -> Stage:
    """Return a bench with one slot, whose runner has run Ada's tasks of a plug-in and is free."""
    stage = Stage(tools, ONE_SLOT, more=(PLUG_IN,), **changes)
    stage.ready()
    for kernel in ("elasticity", "harmonic", "plug-in"):
        stage.canary(kernel)
    (grant,) = sent(plug_in(stage, ADA), LeaseGrant)
    stage.say("desk", LeaseRelease((grant.lease.id,)))
    return stage


def test_a_runner_that_ran_a_plug_in_serves_its_submitter_again(tools: SimpleNamespace) -> None:
    stage = soiled(tools)
    assert sent(plug_in(stage, ADA), LeaseGrant)


@pytest.mark.parametrize("kernel", ["plug-in", "harmonic"])
def test_a_runner_that_ran_a_plug_in_serves_no_second_submitter(
    tools: SimpleNamespace, kernel: str
) -> None:
    stage = soiled(tools)
    hashes = {"plug-in": "f" * 64, "harmonic": tools.HASH}
    effects = stage.ask(kernel=kernel, kernel_hash=hashes[kernel], submitter_key=BOB)
    assert not sent(effects, LeaseGrant)
    assert of(effects, Stop) == [Stop(stage.alive[0], kill=False)]
    assert of(stage.exit(0, "stopped"), Start)
    (grant,) = sent(stage.ready(), LeaseGrant)
    assert grant.lease.submitter_key == BOB


def test_a_runner_that_ran_our_own_kernels_serves_everybody(tools: SimpleNamespace) -> None:
    stage = Stage(tools, ONE_SLOT).warm()
    lease = stage.lease(submitter_key=ADA)
    stage.say("desk", LeaseRelease((lease.id,)))
    assert sent(stage.ask(submitter_key=BOB), LeaseGrant)


def test_a_fresh_runner_is_started_beside_a_soiled_one_while_there_are_slots(
    tools: SimpleNamespace,
) -> None:
    stage = Stage(tools, CPU, more=(PLUG_IN,))
    stage.ready()
    for kernel in ("elasticity", "harmonic", "plug-in"):
        stage.canary(kernel)
    (grant,) = sent(plug_in(stage, ADA), LeaseGrant)
    stage.say("desk", LeaseRelease((grant.lease.id,)))
    effects = plug_in(stage, BOB)
    assert of(effects, Start)
    assert not of(effects, Stop)
    assert sent(stage.ready(), LeaseGrant)


def test_a_canary_never_runs_where_a_plug_in_ran(tools: SimpleNamespace) -> None:
    settings = dataclasses.replace(SETTINGS, runner_idle_s=1e6, canary_period_s=60.0)
    stage = soiled(tools, settings=settings)
    effects = stage.tick(61.0) + stage.say("@nobody", BenchChanged())
    effects += plug_in(stage, BOB)
    assert not sent(effects, RunCanary)
    stage.exit(0, "stopped")
    assert sent(stage.ready(), RunCanary)


# --- admission: the bench follows the gate --------------------------------------------------------

CLOSED = Admission("not-admitted", "it is hot", "wait", b"all of why")


def test_a_closed_device_refuses_at_once_with_all_of_why(stage: Stage) -> None:
    stage.keep(stage.bench.admit("cpu0", CLOSED, stage.tools.at(1.0)))
    (refusal,) = sent(stage.ask(), LeaseRefusal, "desk")
    assert (refusal.code, refusal.reason, refusal.hint) == ("not-admitted", "it is hot", "wait")
    assert refusal.document == b"all of why"


def test_who_waits_when_a_device_closes_is_told(stage: Stage) -> None:
    stage.lease(slots=1, job="job-1")
    stage.ask(job="job-2", desk="other")
    stage.ready()
    stage.ask(job="job-3")
    effects = stage.keep(stage.bench.admit("cpu0", CLOSED, stage.tools.at(1.0)))
    assert [each.job for each in sent(effects, LeaseRefusal)] == ["job-3"]
    assert len(stage.bench.leases()) == 2


def test_a_deferred_request_waits_and_is_served_when_the_device_opens(stage: Stage) -> None:
    stage.keep(stage.bench.admit("cpu0", Admission(DEFERRED, "busy"), stage.tools.at(1.0)))
    assert sent(stage.ask(), LeaseRefusal) == []
    assert len(stage.bench.leases()) == 0
    effects = stage.keep(stage.bench.admit("cpu0", ADMITTED, stage.tools.at(2.0)))
    assert len(sent(effects, LeaseGrant)) == 1


def test_a_deferred_request_that_waited_long_enough_hears_why(stage: Stage) -> None:
    stage.keep(stage.bench.admit("cpu0", Admission(DEFERRED, "busy"), stage.tools.at(1.0)))
    stage.ask()
    (refusal,) = sent(stage.tick(SETTINGS.queue_s + 5.0), LeaseRefusal)
    assert refusal.reason == "busy"


def test_a_throttled_device_keeps_its_oldest_leases(stage: Stage) -> None:
    first = stage.lease(job="job-1")
    stage.ready()
    stage.now = 1.0
    stage.ask(job="job-2", desk="other")
    stage.ready()
    assert len(stage.bench.leases()) == 2
    half = dataclasses.replace(CLOSED, share=0.5)
    effects = stage.keep(stage.bench.admit("cpu0", half, stage.tools.at(2.0)))
    (revoked,) = sent(effects, LeaseRevoked)
    assert revoked.code is LeaseEnd.NOT_ADMITTED
    assert list(stage.bench.leases()) == [first.id]


def test_work_that_moves_may_finish_its_task_and_work_that_stops_may_not(stage: Stage) -> None:
    lease = stage.lease()
    stage.runner(0, RunnerBusy(lease.id, 1, 1, 5.0))
    gone = dataclasses.replace(CLOSED, share=0.0)
    effects = stage.keep(stage.bench.admit("cpu0", gone, stage.tools.at(0.1)))
    assert sent(effects, Forbid)
    assert of(effects, Stop) == []
    at_once = dataclasses.replace(gone, at_once=True)
    effects = stage.keep(stage.bench.admit("cpu0", at_once, stage.tools.at(0.2)))
    assert of(effects, Stop) == [Stop(stage.alive[0], kill=True)]
    assert len(stage.bench.leases()) == 0


def test_a_device_that_may_do_nothing_runs_no_canary_either(tools: SimpleNamespace) -> None:
    stage = Stage(tools)
    gone = dataclasses.replace(CLOSED, share=0.0)
    stage.keep(stage.bench.admit("cpu0", gone, tools.at(0.0)))
    assert sent(stage.ready(), RunCanary) == []
    effects = stage.keep(stage.bench.admit("cpu0", ADMITTED, tools.at(1.0)))
    assert sent(effects, RunCanary)


def test_saying_the_same_again_and_naming_no_device_changes_nothing(stage: Stage) -> None:
    assert stage.bench.admit("gpu7", CLOSED, stage.tools.at(1.0)) == []
    stage.keep(stage.bench.admit("cpu0", CLOSED, stage.tools.at(1.0)))
    assert stage.bench.admit("cpu0", CLOSED, stage.tools.at(2.0)) == []
