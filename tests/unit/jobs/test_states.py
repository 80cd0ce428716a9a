"""States of devices at the bench: heat, faults, quarantine, loss."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.machine import Announce, Effect, Reply, Send, Start, Stop
from qallow_agent.base.message import Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.heat import Warmth
from qallow_agent.jobs.local import CanaryDone, RunCanary, RunnerExited, RunnerReady
from qallow_agent.jobs.messages import LeaseGrant, LeaseRefusal, LeaseRequest, LeaseRevoked
from qallow_agent.jobs.model import BenchDevice, KernelOffer, LeaseEnd
from qallow_agent.jobs.settings import JobSettings

SETTINGS = JobSettings(
    canary_failures=2,
    quarantine_canaries=3,
    quarantine_pause_s=10,
    lost_retry_s=30,
    cool_margin_c=5,
    cool_hold_s=15,
    hot_share=0.25,
    queue_s=30,
    lease_ttl_s=600,
    idle_lease_s=3_600,
    quantum_s=3_600,
    runner_idle_s=1_000,
)
GPU = BenchDevice("gpu0", "cuda", 4, 0)
HOT = Warmth(95.0, 90.0)
COOL = Warmth(60.0, 90.0)
ECC = Complaint("1 uncorrectable memory errors", "reset it")


class Floor:
    """A bench with one device whose sensors and runners a test plays."""

    def __init__(self, tools: SimpleNamespace) -> None:
        self.tools = tools
        self.now = 0.0
        self.spec = GPU
        self.bench = Bench(
            me=tools.IDENTITY.id, node_name="box", identity=tools.IDENTITY, hosts=("10.0.0.1",),
            kernels=[KernelOffer("harmonic", tools.HASH, ("cuda",))], settings=SETTINGS,
            rng=tools.rng,
        )  # fmt: skip
        self.alive: list[str] = []
        self.sense()

    def keep(self, effects: list[Effect]) -> list[Effect]:
        self.bench.check()
        self.alive += [each.runner for each in effects if isinstance(each, Start)]
        return effects

    def sense(self, **changes: Any) -> list[Effect]:
        self.spec = replace(self.spec, **changes)
        return self.keep(self.bench.set_devices([self.spec], self.tools.at(self.now)))

    def later(self, seconds: float) -> list[Effect]:
        until, effects = self.now + seconds, []
        while (due := self.bench.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.keep(self.bench.tick(self.tools.at(self.now)))
        self.now = until
        return effects

    def say(self, sender: str, message: Message) -> list[Effect]:
        return self.keep(self.bench.receive(sender, message, self.tools.at(self.now)))

    def ready(self) -> list[Effect]:
        return self.say(f"@runner/{self.alive[-1]}", RunnerReady(5000, self.tools.KEY, 1))

    def canary(self, *, passed: bool = True, hint: str = "") -> list[Effect]:
        why = "" if passed else "it is wrong"
        done = CanaryDone("harmonic", passed=passed, why=why, rate=1e9, hint=hint)
        return self.say(f"@runner/{self.alive[-1]}", done)

    def bury(self) -> None:
        for name in self.alive:
            self.say(f"@runner/{name}", RunnerExited("stopped"))
        self.alive = []

    def ask(self, job: str = "job-1", slots: int = 1) -> list[Effect]:
        request = LeaseRequest(
            job=job, kernel="harmonic", kernel_hash=self.tools.HASH, device="gpu0", slots=slots,
            submitter_key=self.tools.KEY, memory_bytes=1,
        )  # fmt: skip
        return self.say("desk", request)

    def fill(self, slots: int) -> None:
        """Lease so many slots."""
        self.ask(slots=slots)
        for name in self.alive[1:]:
            self.say(f"@runner/{name}", RunnerReady(5000, self.tools.KEY, 1))

    @property
    def status(self) -> Any:
        return self.bench.device_states()[0]


def sent(effects: list[Effect], kind: type) -> list[Any]:
    return [
        each.message
        for each in effects
        if isinstance(each, Send | Reply | Announce) and isinstance(each.message, kind)
    ]


@pytest.fixture
def floor(tools: SimpleNamespace) -> Floor:
    floor = Floor(tools)
    floor.ready()
    floor.canary()
    assert floor.status.state == "ok"
    return floor


# --- heat -------------------------------------------------------------------------------------


def test_a_hot_device_keeps_its_leases_and_gives_no_new_ones(floor: Floor) -> None:
    floor.fill(2)
    assert sent(floor.sense(warmth=HOT), LeaseRevoked) == []
    assert (floor.status.state, floor.status.busy) == ("hot", 2)
    assert "slows down at 90 C" in floor.status.why
    assert floor.status.fix
    effects = floor.ask("job-2")
    assert [each for each in effects if isinstance(each, Start)] == []
    [refusal] = sent(floor.later(31), LeaseRefusal)
    assert "gpu0 is hot and takes no more" in refusal.reason
    assert floor.status.busy == 2


def test_a_hot_device_still_gives_its_share_of_new_leases(floor: Floor) -> None:
    floor.sense(warmth=HOT)
    assert len(sent(floor.ask(slots=3), LeaseGrant)) == 1
    assert floor.status.busy == 1


def test_a_device_is_cool_again_only_after_a_while(floor: Floor) -> None:
    floor.sense(warmth=HOT)
    floor.sense(warmth=Warmth(87.0, 90.0))
    floor.later(100)
    assert floor.status.state == "hot"
    floor.sense(warmth=COOL)
    floor.later(14)
    floor.sense()
    assert floor.status.state == "hot"
    floor.later(1)
    floor.sense()
    assert (floor.status.state, floor.status.why) == ("ok", "")


def test_leases_that_waited_are_granted_when_it_is_cool(floor: Floor) -> None:
    floor.fill(1)
    floor.sense(warmth=Warmth(slowed=True))
    floor.ask("job-2")
    floor.sense(warmth=COOL)
    floor.later(8)
    floor.sense(warmth=COOL)
    assert floor.status.state == "hot"
    floor.later(7)
    floor.ask("job-2")
    floor.sense(warmth=COOL)
    assert len(floor.alive) == 2


# --- faults and quarantine ----------------------------------------------------------------------


def rounds_until_ok(floor: Floor) -> int:
    rounds = 0
    while floor.status.state != "ok":
        effects = floor.later(10)
        assert rounds < 10
        if sent(effects, RunCanary):
            floor.canary()
            rounds += 1
    return rounds


def test_a_fault_revokes_leases_and_work_returns_after_several_canaries(floor: Floor) -> None:
    floor.fill(2)
    effects = floor.sense(faults=1, fault=ECC)
    assert [each.code for each in sent(effects, LeaseRevoked)] == [LeaseEnd.UNFIT] * 2
    assert len([each for each in effects if isinstance(each, Stop)]) == 2
    assert (floor.status.state, floor.status.why) == ("quarantined", ECC.why)
    assert floor.status.fix == "reset it"
    [refusal] = sent(floor.ask(), LeaseRefusal)
    assert (refusal.code, refusal.hint) == ("no-device", "reset it")
    floor.bury()
    floor.later(30)
    assert sent(floor.ready(), RunCanary)
    floor.canary()
    assert floor.status.state == "quarantined"
    assert rounds_until_ok(floor) == 2
    assert floor.status.why == ""
    assert sent(floor.ask(), LeaseGrant)


def test_a_fault_is_answered_once(floor: Floor) -> None:
    floor.sense(faults=1, fault=ECC)
    floor.bury()
    floor.later(30)
    floor.ready()
    floor.canary()
    rounds_until_ok(floor)
    floor.sense(faults=1, fault=ECC)
    assert floor.status.state == "ok"
    floor.sense(faults=2, fault=ECC)
    assert floor.status.state == "quarantined"


def test_one_failed_canary_loses_a_device_and_one_good_one_brings_it_back(
    tools: SimpleNamespace,
) -> None:
    floor = Floor(tools)
    floor.ready()
    floor.canary(passed=False, hint="install it")
    assert (floor.status.state, floor.status.fix) == ("lost", "install it")
    floor.bury()
    floor.later(30)
    floor.ready()
    floor.canary()
    assert floor.status.state == "ok"


def test_canaries_that_keep_failing_put_a_device_into_quarantine(tools: SimpleNamespace) -> None:
    floor = Floor(tools)
    for expected in ("lost", "quarantined"):
        floor.ready()
        floor.canary(passed=False)
        assert floor.status.state == expected
        floor.bury()
        floor.later(30)
    floor.ready()
    floor.canary()
    floor.later(10)
    floor.canary(passed=False)  # the proofs begin anew
    floor.bury()
    floor.later(30)
    floor.ready()
    floor.canary()
    assert rounds_until_ok(floor) == 2


def test_the_end_of_a_quarantine_is_told(floor: Floor) -> None:
    floor.sense(faults=1, fault=ECC)
    floor.bury()
    floor.later(30)
    floor.ready()
    floor.canary()
    floor.later(10)
    floor.canary()
    floor.later(10)
    told = [each.event for each in floor.canary() if isinstance(each, Notice)]
    assert told == ["device.trusted"]


# --- loss -----------------------------------------------------------------------------------------


def test_a_device_out_of_reach_is_lost_and_tried_as_soon_as_it_is_back(floor: Floor) -> None:
    floor.fill(1)
    effects = floor.sense(usable=False, lost=True, why="GPU is lost", fix="reboot")
    assert [each.code for each in sent(effects, LeaseRevoked)] == [LeaseEnd.UNFIT]
    assert (floor.status.state, floor.status.why, floor.status.fix) == (
        "lost", "GPU is lost", "reboot",
    )  # fmt: skip
    floor.bury()
    assert floor.later(100) == []
    floor.sense(usable=True, lost=False, why="", fix="")
    assert floor.status.state == "warming"
    floor.ready()
    floor.canary()
    assert floor.status.state == "ok"


def test_a_device_that_was_lost_by_a_fault_comes_back_into_quarantine(floor: Floor) -> None:
    floor.sense(faults=1, fault=ECC, usable=False, lost=True, why="GPU is lost")
    assert floor.status.state == "lost"
    floor.bury()
    floor.sense(usable=True, lost=False)
    assert floor.status.state == "quarantined"
    floor.ready()
    floor.canary()
    assert rounds_until_ok(floor) == 2


def test_a_device_that_vanished_is_lost(floor: Floor) -> None:
    floor.keep(floor.bench.set_devices([], floor.tools.at(1.0)))
    assert (floor.status.state, floor.status.why) == ("lost", "it is gone")


def test_what_is_worth_knowing_of_a_device_that_is_well_is_told(floor: Floor) -> None:
    floor.sense(why="other programs hold half of it", fix="stop them")
    assert floor.status.state == "ok"
    assert (floor.status.why, floor.status.fix) == ("other programs hold half of it", "stop them")
