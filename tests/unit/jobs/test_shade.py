"""Devices on trial and the desk: the one shadow lease of a job, and what clients compared."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Reply, Send
from qallow_agent.base.message import Failure, Message
from qallow_agent.jobs.desk import Desk
from qallow_agent.jobs.local import (
    AuditsSeen,
    Choice,
    PlacementMade,
    PlacementWanted,
    ShadowFound,
    ShadowWanted,
)
from qallow_agent.jobs.messages import (
    JobAccepted,
    LeaseBroken,
    LeaseGrant,
    LeaseLost,
    LeaseRefusal,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    LeaseRevoked,
    MoreSlots,
    OpenSession,
)
from qallow_agent.jobs.model import LeaseEnd, Terms
from qallow_agent.jobs.opinions import AuditDone, Comparison
from qallow_agent.jobs.settings import JobSettings

ME = "home"
BOX_KEY, DEN_KEY = SigningKey(b"b" * 32), SigningKey(b"d" * 32)
BOX, DEN = BOX_KEY.id, DEN_KEY.id
CLIENT, OTHER = "@control/1/5", "@control/2/9"


class Stage:
    """A desk with a running job whose small tasks are audited."""

    def __init__(self, tools: SimpleNamespace, **options: Any) -> None:
        self.tools = tools
        self.now = 0.0
        self.desk = Desk(me=ME, settings=JobSettings(), rng=tools.rng, kept={})
        for client in (CLIENT, OTHER):
            self.say(client, OpenSession(tools.KEY, "0.1"))
        for identity in (BOX_KEY, DEN_KEY):
            self.desk.learn_key(identity.id, identity.public)
        terms = Terms(tools.HASH, tools.terms.demand, audit_share=0.01, audit_task_s=0.05)
        order = tools.order(slots=2, **options)
        self.accepted = self.desk.submit(CLIENT, order, terms, tools.at(0.0))
        (accepted,) = told(self.accepted, JobAccepted)
        self.job = accepted.job
        self.audits = (accepted.audit_share, accepted.audit_task_s)

    def say(self, sender: str, message: Message) -> list[Effect]:
        effects = self.desk.receive(sender, message, self.tools.at(self.now))
        self.desk.check()
        return effects

    def tick(self, until: float) -> list[Effect]:
        effects: list[Effect] = []
        while (due := self.desk.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.desk.tick(self.tools.at(self.now))
            self.desk.check()
        self.now = until
        return effects

    def begin(self) -> list[Effect]:
        """Get the first lease."""
        self.say(ME, PlacementMade(self.job, (Choice(BOX, "cpu0", 2, "why"),)))
        return self.grant(BOX, "lease-1")

    def grant(self, node: str, name: str) -> list[Effect]:
        lease = self.tools.lease(name, self.job, node)
        return self.say(
            node, LeaseGrant(self.tools.sign(lease, DEN_KEY if node == DEN else BOX_KEY))
        )

    def shade(self) -> None:
        """Get the shadow lease."""
        self.begin()
        self.say(ME, ShadowFound(self.job, Choice(DEN, "cpu0", 1, "on trial")))
        self.grant(DEN, "shadow-1")


def told(effects: list[Effect], kind: type) -> list[Any]:
    return [
        each.message
        for each in effects
        if isinstance(each, Reply | Send | Announce) and isinstance(each.message, kind)
    ]


@pytest.fixture
def stage(tools: SimpleNamespace) -> Stage:
    return Stage(tools)


def test_the_client_is_told_what_to_audit(stage: Stage) -> None:
    assert stage.audits == (0.01, 0.05)


def test_a_job_that_got_a_lease_looks_for_a_device_on_trial(stage: Stage) -> None:
    assert told(stage.begin(), ShadowWanted) == [ShadowWanted(stage.job)]
    found = ShadowFound(stage.job, Choice(DEN, "cpu0", 1, "on trial"))
    (request,) = told(stage.say(ME, found), LeaseRequest)
    assert (request.device, request.slots, request.shadow) == ("cpu0", 1, True)
    assert told(stage.say(ME, found), LeaseRequest) == [], "one at a time"
    (grant,) = told(stage.grant(DEN, "shadow-1"), LeaseGrant)
    assert grant.shadow


def test_only_the_hallway_names_devices_on_trial(stage: Stage) -> None:
    stage.begin()
    assert stage.say(BOX, ShadowFound(stage.job, Choice(DEN, "cpu0", 1, ""))) == []


def test_a_shadow_lease_is_none_of_those_that_the_job_wants(stage: Stage) -> None:
    stage.shade()
    (grant,) = told(stage.grant(BOX, "lease-2"), LeaseGrant)
    assert not grant.shadow


def test_a_shadow_lease_is_renewed_and_released_with_the_others(stage: Stage) -> None:
    stage.shade()
    renewed = told(stage.tick(4.0), LeaseRenew)
    assert {lease for each in renewed for lease in each.leases} == {"lease-1", "shadow-1"}
    released = told(stage.say(CLIENT, MoreSlots(stage.job, 0)), LeaseRelease)
    assert {lease for each in released for lease in each.leases} == {"lease-1", "shadow-1"}


def test_a_shadow_lease_that_is_revoked_is_not_replaced_at_once(stage: Stage) -> None:
    stage.shade()
    effects = stage.say(DEN, LeaseRevoked("shadow-1", LeaseEnd.UNFIT, "it lied again"))
    (lost,) = told(effects, LeaseLost)
    assert lost.lease == "shadow-1"
    assert told(effects, PlacementWanted) == []
    again = ShadowFound(stage.job, Choice(DEN, "cpu0", 1, "on trial"))
    assert told(stage.say(ME, again), LeaseRequest) == []
    stage.tick(6.0)
    assert len(told(stage.say(ME, again), LeaseRequest)) == 1


def test_a_node_that_dies_takes_the_shadow_lease_along(stage: Stage) -> None:
    stage.shade()
    effects = stage.desk.member_down(DEN, stage.tools.at(1.0))
    assert [each.lease for each in told(effects, LeaseLost)] == ["shadow-1"]


def test_a_shadow_runner_that_cannot_be_reached_is_given_back(stage: Stage) -> None:
    stage.shade()
    effects = stage.say(CLIENT, LeaseBroken(stage.job, "shadow-1", "no way there"))
    assert [each.leases for each in told(effects, LeaseRelease)] == [("shadow-1",)]


def test_a_refused_shadow_does_not_count_against_the_device(stage: Stage) -> None:
    stage.begin()
    stage.say(ME, ShadowFound(stage.job, Choice(DEN, "cpu0", 1, "on trial")))
    assert stage.say(DEN, LeaseRefusal(stage.job, "cpu0", "no-device", "busy")) == []


def test_verified_work_needs_no_shadows(tools: SimpleNamespace) -> None:
    stage = Stage(tools, verify=2)
    assert told(stage.begin(), ShadowWanted) == []


def test_a_verified_job_tells_the_router_how_many_places_it_needs(tools: SimpleNamespace) -> None:
    stage = Stage(tools, verify=2)
    (wanted,) = told(stage.accepted, PlacementWanted)
    assert (wanted.places, wanted.held) == (2, ())
    more = told(stage.begin(), PlacementWanted)
    assert all(each.held == (f"{BOX}/cpu0",) for each in more)
    (asked,) = told(stage.say(CLIENT, MoreSlots(stage.job, 4, 3)), PlacementWanted)
    assert (asked.places, asked.held) == (3, (f"{BOX}/cpu0",))


@pytest.mark.parametrize("verify", [0, 4, -1])
def test_no_other_number_of_devices_is_taken(tools: SimpleNamespace, verify: int) -> None:
    desk = Desk(me=ME, settings=JobSettings(), rng=tools.rng, kept={})
    desk.receive(CLIENT, OpenSession(tools.KEY, "0.1"), tools.at(0.0))
    effects = desk.submit(CLIENT, tools.order(verify=verify), tools.terms, tools.at(0.0))
    (failure,) = told(effects, Failure)
    assert failure.code == "bad-parameter"
    assert str(verify) in failure.message


def test_comparisons_of_devices_that_the_job_was_sent_to_are_passed_on(stage: Stage) -> None:
    stage.shade()
    places = tuple(sorted((f"{BOX}/cpu0", f"{DEN}/cpu0")))
    fine = Comparison(places, (0, 1), 1, b"task", (b"a", b"b"))
    effects = stage.say(CLIENT, AuditDone(stage.job, (fine,)))
    assert told(effects, AuditsSeen) == [AuditsSeen(stage.job, "harmonic", (fine,))]
    assert stage.say(OTHER, AuditDone(stage.job, (fine,))) == [], "another client's job"


@pytest.mark.parametrize(
    "changes",
    [{"places": ("nobody/cpu0", "b/cpu0")}, {"classes": (0,)}, {"times": 0},
     {"digests": (b"a",)}, {"task": b"x" * 65}, {"places": ("b/cpu0", "b/cpu0")}],
)  # fmt: skip
def test_what_is_no_comparison_is_not(stage: Stage, changes: dict[str, Any]) -> None:
    stage.shade()
    fields: dict[str, Any] = {"places": (f"{BOX}/cpu0", f"{DEN}/cpu0"), "classes": (0, 0)}
    given = {
        name: tuple(place.replace("b/cpu0", f"{BOX}/cpu0") for place in value)
        if name == "places"
        else value
        for name, value in changes.items()
    }
    assert stage.say(CLIENT, AuditDone(stage.job, (Comparison(**fields | given),))) == []
