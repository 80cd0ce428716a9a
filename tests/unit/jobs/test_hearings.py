"""What a bench makes of it when desks say that its device's answers differ from others'."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.machine import Announce, Effect, Reply, Send, Start
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.local import CanaryDone, RunnerExited, RunnerReady
from qallow_agent.jobs.messages import (
    LeaseGrant,
    LeaseRefusal,
    LeaseRelease,
    LeaseRequest,
    LeaseRevoked,
)
from qallow_agent.jobs.model import BenchDevice, KernelOffer, LeaseEnd
from qallow_agent.jobs.opinions import Consent, Dissent
from qallow_agent.jobs.settings import JobSettings

SETTINGS = JobSettings(
    quarantine_canaries=2, quarantine_pause_s=1, lost_retry_s=5, quarantine_audits=4,
    most_dissents=3, lease_ttl_s=600, runner_idle_s=1_000, canary_period_s=80_000,
)  # fmt: skip


class Floor:
    """A bench with one device that has passed its canary and leased a runner to one job."""

    def __init__(self, tools: SimpleNamespace) -> None:
        self.tools = tools
        self.now = 0.0
        self.bench = Bench(
            me=tools.IDENTITY.id, node_name="box", identity=tools.IDENTITY, hosts=("10.0.0.1",),
            kernels=[KernelOffer("harmonic", tools.HASH, ("cpu",))], settings=SETTINGS,
            rng=tools.rng,
        )  # fmt: skip
        self.alive: list[str] = []
        spec = BenchDevice("cpu0", "cpu", 2, 0)
        self.keep(self.bench.set_devices([spec], tools.at(0.0)))
        self.pass_canary()
        self.lease = self.ask("job-1")[0]

    def keep(self, effects: list[Effect]) -> list[Effect]:
        self.bench.check()
        self.alive += [each.runner for each in effects if isinstance(each, Start)]
        return effects

    def say(self, sender: str, message: Message) -> list[Effect]:
        return self.keep(self.bench.receive(sender, message, self.tools.at(self.now)))

    def later(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.bench.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.keep(self.bench.tick(self.tools.at(self.now)))
        self.now = until

    def pass_canary(self) -> list[Effect]:
        self.say(f"@runner/{self.alive[-1]}", RunnerReady(5000, self.tools.KEY, 1))
        done = CanaryDone("harmonic", passed=True, rate=1e9)
        return self.say(f"@runner/{self.alive[-1]}", done)

    def ask(self, job: str, desk: str = "desk", *, shadow: bool = False) -> list[Any]:
        request = LeaseRequest(
            job=job, kernel="harmonic", kernel_hash=self.tools.HASH, device="cpu0", slots=1,
            submitter_key=self.tools.KEY, memory_bytes=1, shadow=shadow,
        )  # fmt: skip
        effects = self.say(desk, request)
        return sent(effects, LeaseGrant, LeaseRefusal)

    def dissent(self, alike: int = 2, desk: str = "desk", job: str = "job-1") -> list[Effect]:
        answers = alike + 1 if alike else 2
        return self.say(desk, Dissent(job, "harmonic", "cpu0", answers, alike, b"t", b"a", b"b"))

    def reach_trial(self) -> None:
        """Be contradicted by two, and pass the canaries of the quarantine."""
        self.dissent()
        for name in self.alive:
            self.say(f"@runner/{name}", RunnerExited("killed"))
        self.alive = []
        self.later(5.1)
        self.pass_canary()
        self.later(1.1)
        self.say(f"@runner/{self.alive[-1]}", CanaryDone("harmonic", passed=True, rate=1e9))

    @property
    def status(self) -> Any:
        return self.bench.device_states()[0]


def sent(effects: list[Effect], *kinds: type) -> list[Any]:
    return [
        each.message
        for each in effects
        if isinstance(each, Send | Reply | Announce) and isinstance(each.message, kinds)
    ]


@pytest.fixture
def floor(tools: SimpleNamespace) -> Floor:
    floor = Floor(tools)
    assert (floor.status.state, floor.status.busy) == ("ok", 1)
    return floor


def test_two_answers_alike_against_it_put_a_device_into_quarantine(floor: Floor) -> None:
    effects = floor.dissent()
    assert [each.code for each in sent(effects, LeaseRevoked)] == [LeaseEnd.UNFIT]
    assert floor.status.state == "quarantined"
    assert "job-1" in floor.status.why
    assert "2 of 2 others' that are alike" in floor.status.why
    assert floor.status.fix


def test_one_against_one_counts_only_when_it_repeats(floor: Floor) -> None:
    floor.dissent(alike=0)
    floor.dissent(alike=0)
    assert floor.status.state == "ok"
    floor.later(4_000)
    floor.dissent(alike=0)
    floor.dissent(alike=0)
    assert floor.status.state == "ok", "the first two are too old"
    floor.dissent(alike=0)
    assert floor.status.state == "quarantined"
    assert "3 times within an hour" in floor.status.why


def test_nobody_is_heard_whose_job_never_ran_there(floor: Floor) -> None:
    floor.dissent(desk="stranger")
    floor.dissent(job="job-2")
    floor.say("desk", Dissent("job-1", "harmonic", "gpu7", 3, 2, b"", b"", b""))
    assert floor.status.state == "ok"


@pytest.mark.parametrize(("answers", "alike"), [(1, 2), (2, 2), (0, 5), (-3, 2)])
def test_counts_that_cannot_be_are_no_verdict(floor: Floor, answers: int, alike: int) -> None:
    floor.say("desk", Dissent("job-1", "harmonic", "cpu0", answers, alike, b"", b"", b""))
    assert floor.status.state == "ok"


def test_after_its_canaries_it_takes_shadow_leases_only(floor: Floor) -> None:
    floor.reach_trial()
    assert (floor.status.state, floor.status.trial) == ("quarantined", 4)
    assert "4 shadow copies" in floor.status.why
    (refusal,) = floor.ask("job-2")
    assert isinstance(refusal, LeaseRefusal)
    (grant,) = floor.ask("job-2", shadow=True)
    assert isinstance(grant, LeaseGrant)


def test_copies_that_agree_end_the_trial(floor: Floor) -> None:
    floor.reach_trial()
    floor.ask("job-2", shadow=True)
    floor.say("desk", Consent("cpu0", 3))
    assert (floor.status.state, floor.status.trial) == ("quarantined", 1)
    told = floor.say("desk", Consent("cpu0", 1))
    assert [each.event for each in told if isinstance(each, Notice)] == ["device.trusted"]
    assert (floor.status.state, floor.status.trial, floor.status.why) == ("ok", 0, "")
    runners = len(floor.alive)
    assert floor.ask("job-3", desk="other") == []
    assert len(floor.alive) == runners + 1, "it gets a runner of its own"


def test_consent_counts_only_of_a_desk_that_has_a_lease(floor: Floor) -> None:
    floor.reach_trial()
    floor.say("desk", Consent("cpu0", 10))
    assert floor.status.trial == 4
    (grant,) = floor.ask("job-2", shadow=True)
    floor.say("stranger", Consent("cpu0", 10))
    floor.say("desk", Consent("cpu0", -10))
    assert floor.status.trial == 4
    floor.say("desk", LeaseRelease((grant.lease.id,)))
    floor.say("desk", Consent("cpu0", 10))
    assert floor.status.trial == 4


def test_consent_for_a_device_that_is_well_changes_nothing(floor: Floor) -> None:
    floor.say("desk", Consent("cpu0", 10))
    assert (floor.status.state, floor.status.trial) == ("ok", 0)


def test_a_lie_on_trial_begins_the_quarantine_anew(floor: Floor) -> None:
    floor.reach_trial()
    floor.ask("job-2", shadow=True)
    floor.say("desk", Consent("cpu0", 3))
    effects = floor.dissent(job="job-2")
    assert len(sent(effects, LeaseRevoked)) == 1
    assert (floor.status.state, floor.status.trial) == ("quarantined", 0)
    floor.later(5.1)
    assert "job-2" in floor.status.why


def test_what_it_answered_before_its_quarantine_does_not_prolong_it(floor: Floor) -> None:
    floor.dissent()
    why = floor.status.why
    assert floor.dissent() == []
    assert floor.status.why == why


def test_a_failed_canary_on_trial_keeps_the_trial(floor: Floor) -> None:
    floor.reach_trial()
    floor.later(80_001)
    station = floor.alive[-1]
    floor.say(f"@runner/{station}", CanaryDone("harmonic", passed=False, why="it is wrong"))
    assert floor.status.state in {"quarantined", "lost"}
    assert floor.status.trial in {0, 4}
