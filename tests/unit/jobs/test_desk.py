"""The desk: life of a job, and every way in which its client, its executors or time end it."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.ids import JobId, LeaseId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Persist, Reply, Send
from qallow_agent.base.message import Done, Failure, Message, Report
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.desk import Desk
from qallow_agent.jobs.local import Choice, ClientGone, PlacementMade, PlacementWanted
from qallow_agent.jobs.messages import (
    Deposit,
    Fetch,
    JobAccepted,
    JobCancel,
    JobEnded,
    JobProgress,
    JobState,
    JobStep,
    JobStopped,
    KeepEpoch,
    LeaseBroken,
    LeaseGrant,
    LeaseLost,
    LeaseRefusal,
    LeaseRelease,
    LeaseRenew,
    LeaseRequest,
    LeaseRevoked,
    LeaseStarved,
    ListJobs,
    MoreSlots,
    OpenSession,
)
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.settings import JobSettings

ME = "home"
BOX_KEY, DEN_KEY = SigningKey(b"b" * 32), SigningKey(b"d" * 32)
BOX, DEN = BOX_KEY.id, DEN_KEY.id
CLIENT = "@control/1/5"
OTHER = "@control/2/9"
SETTINGS = JobSettings(
    lease_resend_s=3.0, lease_patience_s=5.0, lease_answer_s=35.0, retain_bytes=1000
)


class Stage:
    """A desk, and shorthands for talking to it."""

    def __init__(self, tools: SimpleNamespace, **kept: bytes) -> None:
        self.tools = tools
        self.desk = Desk(me=ME, settings=SETTINGS, rng=tools.rng, kept=kept)
        self.now = 0.0
        self.effects: list[Effect] = []
        for client in (CLIENT, OTHER):
            self.say(client, OpenSession(tools.KEY, "0.1"))
        for identity in (BOX_KEY, DEN_KEY):
            self.desk.learn_key(identity.id, identity.public)
        self.tick(0.0)

    def keep(self, effects: list[Effect]) -> list[Effect]:
        self.desk.check()
        self.effects += effects
        return effects

    def say(self, sender: str, message: Message) -> list[Effect]:
        return self.keep(self.desk.receive(sender, message, self.tools.at(self.now)))

    def submit(self, sender: str = CLIENT, **options: Any) -> JobId:
        order = self.tools.order(slots=options.pop("slots", 2), **options)
        effects = self.desk.submit(sender, order, self.tools.terms, self.tools.at(self.now))
        self.keep(effects)
        return told(effects, JobAccepted)[0].job

    def tick(self, until: float) -> list[Effect]:
        """Let time pass, ticking whenever the desk asks for it."""
        effects: list[Effect] = []
        while (due := self.desk.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            effects += self.keep(self.desk.tick(self.tools.at(self.now)))
        self.now = until
        return effects

    def place(self, job: JobId, *places: tuple[str, int], **rest: Any) -> list[Effect]:
        choices = tuple(Choice(node, "cpu0", slots, "why") for node, slots in places)
        return self.say(ME, PlacementMade(job, choices, **rest))

    def grant(self, job: JobId, node: str, name: str, **changes: Any) -> list[Effect]:
        lease = self.tools.lease(name, job, node, **changes)
        identity = DEN_KEY if node == DEN else BOX_KEY
        return self.say(node, LeaseGrant(self.tools.sign(lease, identity)))

    def running(self, **options: Any) -> JobId:
        job = self.submit(**options)
        self.place(job, (BOX, 2))
        self.grant(job, BOX, "lease-1")
        return job

    def row(self, job: JobId) -> dict[str, Any]:
        (report,) = told(self.say(OTHER, ListJobs(job)), Report)
        return report.document["jobs"][0]


@pytest.fixture
def stage(tools: SimpleNamespace) -> Stage:
    return Stage(tools)


def told(effects: list[Effect], kind: type, to: str | None = None) -> list[Any]:
    return [
        each.message
        for each in effects
        if isinstance(each, Reply | Send | Announce)
        and isinstance(each.message, kind)
        and (to is None or getattr(each, "to", None) == to)
    ]


def test_a_submission_is_persisted_accepted_and_placed(stage: Stage) -> None:
    job = stage.submit()
    kinds = [type(each) for each in stage.effects if not isinstance(each, Notice)]
    assert kinds == [Persist, Reply, Announce]
    (wanted,) = told(stage.effects, PlacementWanted)
    assert (wanted.job, wanted.slots) == (job, 2)
    assert stage.desk.needs(job).order.kernel == "harmonic"


def test_nothing_is_submitted_without_a_session(stage: Stage, tools: SimpleNamespace) -> None:
    effects = stage.desk.submit("@control/9/1", tools.order(), tools.terms, tools.at(0))
    assert told(effects, Failure)[0].code == "usage"


@pytest.mark.parametrize(
    "options",
    [{"start_s": 0.0}, {"start_s": float("nan")}, {"deadline_s": -1.0}, {"slots": 0}],
)
def test_senseless_limits_are_refused(
    stage: Stage, tools: SimpleNamespace, options: dict[str, Any]
) -> None:
    slots = options.pop("slots", 1)
    order = tools.order(slots=slots, **options)
    effects = stage.desk.submit(CLIENT, order, tools.terms, tools.at(0))
    assert told(effects, Failure)[0].code == "bad-parameter"


def test_a_desk_has_room_for_so_many_jobs(tools: SimpleNamespace) -> None:
    desk = Desk(me=ME, settings=JobSettings(max_jobs=1), rng=tools.rng, kept={})
    desk.receive(CLIENT, OpenSession(tools.KEY, "0.1"), tools.at(0))
    desk.submit(CLIENT, tools.order(), tools.terms, tools.at(0))
    effects = desk.submit(CLIENT, tools.order(), tools.terms, tools.at(0))
    (failure,) = told(effects, Failure)
    assert failure.retryable


def test_the_router_choice_becomes_requests_to_benches(stage: Stage) -> None:
    job = stage.submit(slots=3, task_limit_s=7.0)
    effects = stage.place(job, (BOX, 2), (DEN, 5))
    requests = {each.to: each.message for each in effects if isinstance(each, Send)}
    assert {node: request.slots for node, request in requests.items()} == {BOX: 2, DEN: 1}
    assert requests[BOX].task_limit_s == 7.0
    assert stage.row(job)["state"] == "placed"


def test_only_this_node_places_jobs(stage: Stage) -> None:
    job = stage.submit()
    made = PlacementMade(job, (Choice("evil", "cpu0", 1, ""),))
    assert stage.say("evil", made) == []


def test_a_grant_reaches_the_submitter_and_is_renewed(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    (grant,) = told(stage.grant(job, BOX, "lease-1"), LeaseGrant, CLIENT)
    assert grant.lease.id == "lease-1"
    assert stage.row(job)["state"] == "running"
    (renewal,) = told(stage.tick(3.0), LeaseRenew, BOX)
    assert renewal.leases == ("lease-1",)
    assert told(stage.tick(9.0), LeaseRenew, BOX)


def test_a_duplicated_grant_is_one_lease(stage: Stage) -> None:
    job = stage.running()
    assert stage.grant(job, BOX, "lease-1") == []
    assert len(stage.row(job)["leases"]) == 1


def test_a_surplus_grant_goes_back_at_once(stage: Stage) -> None:
    job = stage.running()
    stage.grant(job, BOX, "lease-2")
    effects = stage.grant(job, BOX, "lease-3")
    assert told(effects, LeaseRelease, BOX)[0].leases == ("lease-3",)


def test_a_grant_after_the_end_goes_back_at_once(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    stage.say(CLIENT, JobCancel(job))
    effects = stage.grant(job, BOX, "lease-1")
    assert told(effects, LeaseRelease, BOX)[0].leases == ("lease-1",)


def test_a_lease_nobody_asked_for_goes_back(stage: Stage) -> None:
    job = stage.submit()
    effects = stage.grant(job, DEN, "lease-1")
    assert told(effects, LeaseRelease, DEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "other"},
        {"submitter_key": b"x" * 32},
        {"kernel_hash": "b" * 64},
        {"credits": 0},
        {"ttl_s": float("nan")},
        {"ttl_s": 1e9},
        {"port": 0},
        {"hosts": ()},
        {"runner_key": b"short"},
    ],
)
def test_a_doubtful_lease_is_not_accepted(stage: Stage, changes: dict[str, Any]) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    lease = stage.tools.lease("lease-1", job, **{"node": BOX, **changes})
    signed = stage.tools.sign(lease, BOX_KEY)
    effects = stage.say(BOX, LeaseGrant(signed))
    assert [each.event for each in effects] == ["lease.doubtful"]
    assert stage.row(job)["leases"] == []


def test_a_lease_must_bear_the_signature_of_its_node(stage: Stage, tools: SimpleNamespace) -> None:
    node = tools.IDENTITY.id
    stage.desk.learn_key(node, tools.IDENTITY.public)
    job = stage.submit()
    stage.place(job, (node, 2))
    forged = tools.lease("lease-1", job, node)
    assert not told(stage.say(node, LeaseGrant(forged)), LeaseGrant)
    signed = tools.sign(forged, tools.IDENTITY)
    assert told(stage.say(node, LeaseGrant(signed)), LeaseGrant, CLIENT)


def test_a_lease_of_a_node_whose_key_is_unknown_is_not_accepted(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, ("stranger", 2))
    [doubt] = stage.grant(job, "stranger", "lease-1")
    assert doubt.facts["why"] == "its node's key is unknown here"


def test_a_refusal_sends_the_job_elsewhere(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    effects = stage.say(BOX, LeaseRefusal(job, "cpu0", "no-device", "all busy"))
    (wanted,) = told(effects, PlacementWanted)
    assert wanted.avoid == (f"{BOX}/cpu0",)
    assert stage.say(BOX, LeaseRefusal(job, "cpu0", "no-device", "again")) == []


def test_a_silent_bench_is_asked_again_and_then_avoided(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    assert told(stage.tick(3.0), LeaseRequest, BOX)
    effects = stage.tick(35.0)
    (wanted,) = told(effects, PlacementWanted)[-1:]
    assert wanted.avoid == (f"{BOX}/cpu0",)


def test_a_slow_bench_does_not_keep_others_from_being_asked(stage: Stage) -> None:
    job = stage.submit()
    stage.place(job, (BOX, 2))
    assert not told(stage.tick(4.9), PlacementWanted)
    (wanted,) = told(stage.tick(5.0), PlacementWanted)
    assert (wanted.slots, wanted.avoid) == (2, (f"{BOX}/cpu0",))
    stage.place(job, (DEN, 2))
    stage.grant(job, DEN, "lease-1")
    stage.grant(job, BOX, "lease-2")
    surplus = stage.grant(job, BOX, "lease-3")
    assert told(surplus, LeaseRelease, BOX)
    assert len(stage.row(job)["leases"]) == 2


def test_a_starved_job_is_told_why_once_and_retried(stage: Stage) -> None:
    job = stage.submit()
    effects = stage.place(job, reason="all devices are busy", hint="wait")
    (starved,) = told(effects, LeaseStarved, CLIENT)
    assert starved.reason == "all devices are busy"
    assert told(stage.tick(0.5), PlacementWanted)
    assert not told(stage.place(job, reason="all devices are busy"), LeaseStarved)
    assert not told(stage.tick(1.4), PlacementWanted)
    assert told(stage.tick(1.5), PlacementWanted)


def test_a_change_of_devices_brings_the_retry_forward(stage: Stage) -> None:
    job = stage.submit()
    for _ in range(6):
        stage.place(job, reason="nothing yet")
    due = stage.now + 0.5
    assert not told(stage.tick(due), PlacementWanted)
    stage.desk.devices_changed(stage.tools.at(stage.now))
    assert told(stage.tick(stage.now + 0.5), PlacementWanted)


def test_a_job_without_a_runner_fails_when_its_start_limit_passes(stage: Stage) -> None:
    job = stage.submit(start_s=10.0)
    stage.place(job, reason="all devices are busy")
    (stopped,) = told(stage.tick(10.0), JobStopped, CLIENT)
    assert (stopped.state, stopped.code) == (JobState.FAILED, "no-device")
    assert "all devices are busy" in stopped.reason
    assert stage.row(job)["state"] == "failed"


def test_what_can_never_run_is_refused_at_once(stage: Stage) -> None:
    job = stage.submit()
    effects = stage.place(job, reason="no device has the kernel", never=True)
    assert told(effects, JobStopped, CLIENT)[0].code == "never-fits"


def test_a_deadline_expires_the_job_and_releases_its_leases(stage: Stage) -> None:
    job = stage.running(deadline_s=20.0)
    for second in range(1, 20):
        stage.tick(second)
        stage.say(CLIENT, JobProgress(job, second, 0, 0))
    effects = stage.tick(20.0)
    assert told(effects, LeaseRelease, BOX)[0].leases == ("lease-1",)
    assert told(effects, JobStopped, CLIENT)[0].state is JobState.EXPIRED


def test_a_revoked_lease_is_reported_with_its_culprit(stage: Stage) -> None:
    job = stage.running()
    revoked = LeaseRevoked("lease-1", LeaseEnd.CRASHED, "SIGSEGV", 7, 2)
    assert stage.say("evil", revoked) == []
    effects = stage.say(BOX, revoked)
    (lost,) = told(effects, LeaseLost, CLIENT)
    assert (lost.lease, lost.code, lost.task, lost.attempt) == ("lease-1", "device-lost", 7, 2)
    assert told(effects, PlacementWanted)
    assert stage.say(BOX, revoked) == []
    assert stage.row(job)["state"] == "placed"  # a second slot is still asked for


def test_a_revoked_lease_is_not_revived_by_an_old_grant(stage: Stage) -> None:
    job = stage.running()
    stage.say(BOX, LeaseRevoked("lease-1", LeaseEnd.PREEMPTED, "turn"))
    assert told(stage.grant(job, BOX, "lease-1"), LeaseRelease, BOX)


def test_a_dead_member_loses_its_leases_and_requests(stage: Stage) -> None:
    job = stage.running()
    effects = stage.keep(stage.desk.member_down(BOX, stage.tools.at(1.0)))
    (lost,) = told(effects, LeaseLost, CLIENT)
    assert lost.code == LeaseEnd.NODE_DOWN
    (wanted,) = told(effects, PlacementWanted)[-1:]
    assert wanted.slots == 2
    assert wanted.avoid == (f"{BOX}/cpu0",)
    assert stage.row(job)["state"] == "submitted"
    assert stage.desk.member_down("stranger", stage.tools.at(1.0)) == []


def test_a_lease_broken_for_its_client_is_replaced(stage: Stage) -> None:
    job = stage.running()
    assert stage.say(OTHER, LeaseBroken(job, "lease-1", "no route")) == []
    effects = stage.say(CLIENT, LeaseBroken(job, "lease-1", "no route"))
    assert told(effects, LeaseRelease, BOX)
    assert told(effects, LeaseLost, CLIENT)[0].code == LeaseEnd.BROKEN
    assert told(effects, PlacementWanted)[0].avoid == (f"{BOX}/cpu0",)


def test_the_end_releases_everything_and_is_remembered(stage: Stage) -> None:
    job = stage.running()
    progress = JobProgress(job, 100, 0, 3, {f"{BOX}/cpu0": 100})
    effects = stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, progress))
    assert told(effects, LeaseRelease, BOX)
    assert told(effects, Done, CLIENT)
    assert not told(effects, JobStopped)
    row = stage.row(job)
    assert (row["state"], row["done"], row["rerun"]) == ("succeeded", 100, 3)
    assert row["share"] == {f"{BOX}/cpu0": 100}
    assert stage.desk.needs(job) is None
    again = stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, progress))
    assert told(again, Done)
    other = stage.say(CLIENT, JobEnded(job, JobState.FAILED, progress))
    assert told(other, Failure)


def test_another_client_may_not_end_a_job(stage: Stage) -> None:
    job = stage.running()
    progress = JobProgress(job, 0, 0, 0)
    effects = stage.say(OTHER, JobEnded(job, JobState.FAILED, progress))
    assert told(effects, Failure)[0].code == "not-allowed"
    stage.say(OTHER, JobProgress(job, 99, 0, 0))
    assert stage.row(job)["done"] == 0
    not_an_end = stage.say(CLIENT, JobEnded(job, JobState.RUNNING, progress))
    assert told(not_an_end, Failure)[0].code == "usage"


@pytest.mark.parametrize("stage_of_life", ["submitted", "placed", "running"])
def test_a_job_can_be_cancelled_at_any_time_by_any_client(stage: Stage, stage_of_life: str) -> None:
    job = stage.submit() if stage_of_life != "running" else stage.running()
    if stage_of_life == "placed":
        stage.place(job, (BOX, 1))
    effects = stage.say(OTHER, JobCancel(job))
    assert told(effects, JobStopped, CLIENT)[0].code == "cancelled"
    assert told(effects, Done, OTHER)
    assert bool(told(effects, LeaseRelease)) == (stage_of_life == "running")
    assert told(stage.say(OTHER, JobCancel(job)), Done)


def test_what_is_over_or_unknown_cannot_be_cancelled(stage: Stage) -> None:
    job = stage.running()
    stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, JobProgress(job, 1, 0, 0)))
    assert told(stage.say(OTHER, JobCancel(job)), Failure)[0].code == "job-rejected"
    assert told(stage.say(OTHER, JobCancel(JobId("x"))), Failure)[0].code == "job-not-found"


def test_a_vanished_client_frees_its_leases(stage: Stage) -> None:
    job = stage.running()
    effects = stage.say("@control/1/0", ClientGone())
    assert told(effects, LeaseRelease, BOX)
    assert stage.row(job)["state"] == "failed"
    assert "vanished" in stage.row(job)["error"]


def test_a_keyed_job_waits_for_its_client_and_is_adopted(stage: Stage) -> None:
    job = stage.running(idempotency_key="k")
    effects = stage.say("@control/1/0", ClientGone())
    assert told(effects, LeaseRelease, BOX)
    stage.tick(29.0)
    assert stage.submit(OTHER, idempotency_key="k") == job
    accepted = told(stage.effects, JobAccepted, OTHER)[0]
    assert accepted.known
    stage.place(job, (BOX, 2))
    assert told(stage.grant(job, BOX, "lease-9"), LeaseGrant, OTHER)


def test_a_keyed_job_does_not_wait_for_ever(stage: Stage) -> None:
    job = stage.running(idempotency_key="k")
    stage.say("@control/1/0", ClientGone())
    stage.tick(31.0)
    assert "did not come back" in stage.row(job)["error"]


def test_a_resubmission_while_running_watches_the_job(stage: Stage) -> None:
    job = stage.running(idempotency_key="k")
    assert stage.submit(OTHER, idempotency_key="k") == job
    accepted = told(stage.effects, JobAccepted, OTHER)[0]
    assert (accepted.known, accepted.state) == (True, JobState.RUNNING)
    effects = stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, JobProgress(job, 1, 0, 0)))
    assert told(effects, JobStopped, OTHER)[0].state is JobState.SUCCEEDED


def test_a_resubmission_after_the_end_returns_the_same_job(stage: Stage) -> None:
    job = stage.running(idempotency_key="k")
    stage.say(CLIENT, JobEnded(job, JobState.FAILED, JobProgress(job, 1, 0, 0), "it broke"))
    assert stage.submit(OTHER, idempotency_key="k") == job
    (stopped,) = told(stage.effects, JobStopped, OTHER)
    assert (stopped.state, stopped.reason) == (JobState.FAILED, "it broke")


@pytest.mark.parametrize("over", [False, True])
def test_a_key_with_other_parameters_is_refused(
    stage: Stage, tools: SimpleNamespace, *, over: bool
) -> None:
    job = stage.running(idempotency_key="k")
    if over:
        stage.say(CLIENT, JobCancel(job))
    order = tools.order(points=999, idempotency_key="k")
    effects = stage.desk.submit(OTHER, order, tools.terms, tools.at(1))
    (failure,) = told(effects, Failure)
    assert failure.code == "job-rejected"
    assert "other parameters" in failure.message


def test_a_silent_client_loses_its_leases_and_then_its_job(stage: Stage) -> None:
    job = stage.running()
    effects = stage.tick(60.0)
    assert told(effects, LeaseLost, CLIENT)[0].code == LeaseEnd.SILENT
    assert told(effects, LeaseRelease, BOX)
    effects = stage.tick(121.0)
    assert told(effects, JobStopped, CLIENT)
    assert stage.row(job)["state"] == "failed"


def test_a_client_that_talks_keeps_an_idle_job(stage: Stage) -> None:
    job = stage.running()
    assert told(stage.say(CLIENT, MoreSlots(job, 0)), LeaseRelease, BOX)
    for minute in range(1, 10):
        stage.tick(minute * 50.0)
        stage.say(CLIENT, JobProgress(job, 1, 0, 0))
    assert stage.row(job)["state"] == "submitted"
    assert told(stage.say(CLIENT, MoreSlots(job, 4)), PlacementWanted)[0].slots == 4


def test_an_idle_lease_taken_away_is_not_asked_for_again(stage: Stage) -> None:
    job = stage.running(slots=1)
    effects = stage.say(BOX, LeaseRevoked("lease-1", LeaseEnd.IDLE, "idle"))
    assert not told(effects, PlacementWanted)
    assert stage.row(job)["wanted"] == 0


def test_results_are_kept_in_parts_and_fetched(stage: Stage) -> None:
    job = stage.running(retain=True)
    assert told(stage.say(CLIENT, Deposit(job, 0, b"a" * 10)), Done)
    assert told(stage.say(OTHER, Fetch(job)), Failure)[0].retryable
    stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, JobProgress(job, 1, 0, 0)))
    assert told(stage.say(CLIENT, Deposit(job, 1, b"b", last=True)), Done)
    assert [part.data for part in told(stage.say(OTHER, Fetch(job)), Deposit)] == [b"a" * 10, b"b"]
    assert stage.row(job)["result_bytes"] == 11
    late = stage.say(CLIENT, Deposit(job, 2, b"c"))
    assert "already complete" in told(late, Failure)[0].message


def test_deposits_out_of_order_foreign_or_unwanted_are_refused(stage: Stage) -> None:
    job = stage.running(retain=True)
    assert told(stage.say(CLIENT, Deposit(job, 1, b"x")), Failure)
    assert told(stage.say(OTHER, Deposit(job, 0, b"x")), Failure)[0].code == "not-allowed"
    assert told(stage.say(CLIENT, Deposit(job, 0, b"x" * (5 << 20))), Failure)
    plain = stage.submit()
    assert told(stage.say(CLIENT, Deposit(plain, 0, b"x")), Failure)[0].code == "usage"
    assert told(stage.say(CLIENT, Deposit(JobId("x"), 0, b"x")), Failure)


def finished(stage: Stage, size: int) -> JobId:
    job = stage.running(retain=True)
    stage.say(CLIENT, Deposit(job, 0, b"x" * size, last=True))
    stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, JobProgress(job, 1, 0, 0)))
    return job


def test_older_results_make_room_for_newer_ones(stage: Stage) -> None:
    old, new = finished(stage, 600), finished(stage, 600)
    assert told(stage.say(OTHER, Fetch(new)), Deposit)
    assert told(stage.say(OTHER, Fetch(old)), Failure)[0].code == "job-not-found"
    assert Persist(f"jobs/{old}/part-00000", None) in stage.effects
    big = stage.running(retain=True)
    assert told(stage.say(CLIENT, Deposit(big, 0, b"x" * 1001)), Failure)


def test_half_a_result_goes_with_its_client(stage: Stage) -> None:
    job = stage.running(retain=True)
    stage.say(CLIENT, Deposit(job, 0, b"x"))
    effects = stage.say("@control/1/0", ClientGone())
    assert Persist(f"jobs/{job}/part-00000", None) in effects


def restarted(stage: Stage, tools: SimpleNamespace) -> Stage:
    disk = {}
    for effect in stage.effects:
        if isinstance(effect, Persist):
            disk[effect.name] = effect.data
    return Stage(tools, **{name: data for name, data in disk.items() if data is not None})


def test_a_restarted_desk_remembers_what_was_over_and_fails_what_ran(
    stage: Stage, tools: SimpleNamespace
) -> None:
    done, ran = finished(stage, 10), stage.running(retain=True, idempotency_key="k")
    stage.say(CLIENT, Deposit(ran, 0, b"half"))
    after = restarted(stage, tools)
    assert told(after.say(OTHER, Fetch(done)), Deposit)[0].data == b"x" * 10
    assert after.row(ran)["error"] == "the agent restarted while the job ran"
    assert Persist(f"jobs/{ran}/part-00000", None) in after.effects
    assert after.submit(CLIENT, idempotency_key="k", retain=True) == ran
    assert told(after.effects, JobStopped, CLIENT)[0].state is JobState.FAILED


def test_a_corrupt_record_is_named(tools: SimpleNamespace) -> None:
    with pytest.raises(StorageCorrupt, match="jobs/job-x/record"):
        Stage(tools, **{"jobs/job-x/record": b"\xff"})


def test_old_jobs_are_forgotten(tools: SimpleNamespace) -> None:
    desk = Desk(me=ME, settings=JobSettings(retain_jobs=1), rng=tools.rng, kept={})
    desk.receive(CLIENT, OpenSession(tools.KEY, "0.1"), tools.at(0))
    effects: list[Effect] = []
    for _ in range(2):
        accepted = told(desk.submit(CLIENT, tools.order(), tools.terms, tools.at(0)), JobAccepted)
        effects += desk.receive(CLIENT, JobCancel(accepted[0].job), tools.at(0))
    (report,) = told(desk.receive(CLIENT, ListJobs(), tools.at(0)), Report)
    assert len(report.document["jobs"]) == 1
    assert any(isinstance(each, Persist) and each.data is None for each in effects)


def test_draining_ends_every_job_with_the_reason(stage: Stage) -> None:
    stage.running()
    effects = stage.keep(stage.desk.drain(stage.tools.at(1.0)))
    assert told(effects, JobStopped, CLIENT)[0].reason == "the agent is stopping"
    assert stage.desk.running() == 0


def test_every_change_of_state_is_a_notice(stage: Stage) -> None:
    job = stage.running()
    stage.say(CLIENT, JobCancel(job))
    states = [
        each.facts["state"]
        for each in stage.effects
        if isinstance(each, Notice) and each.event == "job.state"
    ]
    assert states == ["placed", "running", "cancelled"]


def test_what_is_unknown_is_said_to_be(stage: Stage) -> None:
    for question in (Fetch(JobId("x")), ListJobs(JobId("x"))):
        assert told(stage.say(OTHER, question), Failure)[0].code == "job-not-found"
    assert stage.say(BOX, LeaseRefusal(JobId("x"), "cpu0", "no-device", "")) == []
    assert stage.say(OTHER, MoreSlots(JobId("x"), 1)) == []
    assert stage.say(CLIENT, LeaseGrant(stage.tools.lease("lease-1"))) == []


def test_a_session_needs_a_whole_key(stage: Stage) -> None:
    effects = stage.say("@control/3/1", OpenSession(b"short", "0.1"))
    assert told(effects, Failure)[0].code == "usage"


def test_results_brought_after_the_end_go_with_their_client_unless_complete(stage: Stage) -> None:
    half, whole = finished_without_result(stage), finished_without_result(stage)
    stage.say(CLIENT, Deposit(half, 0, b"x"))
    stage.say(CLIENT, Deposit(whole, 0, b"x", last=True))
    stage.say("@control/1/0", ClientGone())
    assert told(stage.say(OTHER, Fetch(half)), Failure)
    assert told(stage.say(OTHER, Fetch(whole)), Deposit)


def finished_without_result(stage: Stage) -> JobId:
    job = stage.running(retain=True)
    stage.say(CLIENT, JobEnded(job, JobState.SUCCEEDED, JobProgress(job, 1, 0, 0)))
    return job


def test_a_place_already_asked_is_not_asked_twice(stage: Stage) -> None:
    job = stage.submit(slots=4)
    stage.place(job, (BOX, 1))
    assert not told(stage.place(job, (BOX, 3)), LeaseRequest)


def keep(job: JobId, epoch: int, data: bytes = b"state") -> KeepEpoch:
    return KeepEpoch(job, epoch, 0, data, last=True)


def test_states_of_a_run_are_kept_listed_and_fetched(stage: Stage, tools: SimpleNamespace) -> None:
    job = stage.running(retain=True)
    for epoch in (4, 9):
        assert told(stage.say(CLIENT, keep(job, epoch)), Done)
    assert stage.row(job)["checkpoints"] == [
        {"epoch": 4, "bytes": 5}, {"epoch": 9, "bytes": 5},
    ]  # fmt: skip
    assert [part.data for part in told(stage.say(OTHER, Fetch(job, 4)), KeepEpoch)] == [b"state"]
    (wrong,) = told(stage.say(OTHER, Fetch(job, 5)), Failure)
    assert (wrong.code, wrong.hint) == ("job-not-found", "there are: 4, 9")
    after = restarted(stage, tools)
    assert [each["epoch"] for each in after.row(job)["checkpoints"]] == [4, 9]


def test_states_that_are_foreign_unwanted_or_of_no_job_are_refused(stage: Stage) -> None:
    job, plain = stage.running(retain=True), stage.submit()
    for sender, message, code in (
        (OTHER, keep(job, 1), "not-allowed"),
        (CLIENT, keep(plain, 1), "usage"),
        (CLIENT, keep(JobId("job-x"), 1), "job-not-found"),
        (CLIENT, KeepEpoch(job, 1, 3, b"x"), "job-rejected"),
        (CLIENT, Fetch(plain, 1), "job-not-found"),
        (CLIENT, Fetch(JobId("job-x"), 1), "job-not-found"),
    ):
        assert told(stage.say(sender, message), Failure)[0].code == code
    assert stage.row(job)["checkpoints"] == []


def test_the_next_client_under_a_key_gets_the_newest_state_before_any_lease(stage: Stage) -> None:
    job = stage.running(retain=True, idempotency_key="k")
    for epoch in (4, 9):
        stage.say(CLIENT, keep(job, epoch))
    stage.say("@control/1/0", ClientGone())
    stage.effects.clear()
    assert stage.submit(OTHER, retain=True, idempotency_key="k") == job
    told_first = [each.message for each in stage.effects if isinstance(each, Reply)]
    assert isinstance(told_first[0], JobAccepted)
    assert told_first[1] == keep(job, 9)


def test_what_a_submitter_tells_of_a_run_is_in_its_story(stage: Stage) -> None:
    job = stage.running()
    step = JobStep(job, "checkpoint", LeaseId("lease-1"), 0, 1, 4, 400, "d", "", 5)
    stage.say(OTHER, step)
    assert stage.desk.account_of(job).story.steps == ()
    stage.say(CLIENT, step)
    (found,) = stage.desk.account_of(job).story.steps
    assert (found.epoch, found.tick, found.lease) == (4, 400, "lease-1")
    assert found.stamp > stage.desk.account_of(job).story.passages[-1].stamp


def test_a_grain_below_nothing_is_refused(stage: Stage, tools: SimpleNamespace) -> None:
    order = tools.order(checkpoint_every=-1)
    effects = stage.desk.submit(CLIENT, order, tools.terms, tools.at(0))
    assert told(effects, Failure)[0].code == "bad-parameter"
