"""The cashier: what benches say of their energy is checked, kept with the job, and budgeted."""

from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.ids import JobId, NodeId
from qallow_agent.base.joules import Joules
from qallow_agent.base.machine import Announce, Effect, Persist
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.cashier import Cashier
from qallow_agent.jobs.live import LiveJob
from qallow_agent.jobs.local import EnergyCharged
from qallow_agent.jobs.messages import JobEnergy, JobOptions, JobState
from qallow_agent.jobs.model import JobEvent, JobRecord
from qallow_agent.jobs.roster import Roster
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.jobs.tabs import used

JOB = JobId("job-1")
BOX = NodeId("box")


class Till:
    """A cashier with one live job that has a lease on ``box/cpu0``."""

    def __init__(self, tools: SimpleNamespace, **options: Any) -> None:
        self.tools = tools
        self.roster = Roster(JobSettings(), {})
        self.cashier = Cashier(self.roster)
        record = JobRecord(
            JOB, "harmonic", tools.HASH, 100, JobOptions(**options), "f", JobState.SUBMITTED, 0.0
        )
        self.job = LiveJob(record, tools.order(), tools.terms, 0.0)
        self.roster.add(self.job)
        self.lease("lease-1")

    def lease(self, name: str, node: str = "box") -> None:
        self.job.hold(self.tools.lease(name, node=node), 0.0)
        self.job.move(JobEvent.LEASED)

    def say(
        self, gross_j: float, *, account: str = "1.1", node: str = "box", **more: Any
    ) -> list[Effect]:
        joules = more.pop("joules", Joules(gross_j, gross_j * 0.8, gross_j * 0.7, gross_j * 1.1))
        fields = {"ops": gross_j * 1e3, "busy_s": gross_j / 10, "settled": False} | more
        message = JobEnergy(JOB, "cpu0", account, joules, **fields)  # type: ignore[arg-type]
        return self.cashier.charge(node, message, self.tools.at(5.0))

    @property
    def record(self) -> JobRecord:
        live = self.roster.live.get(JOB)
        found = self.roster.archive.get(JOB) if live is None else live.record
        assert found is not None
        return found

    def used(self) -> Joules:
        joules = used(self.record, over=JOB not in self.roster.live)
        assert joules is not None
        return joules


@pytest.fixture
def till(tools: SimpleNamespace) -> Till:
    return Till(tools)


def charged(effects: list[Effect]) -> list[EnergyCharged]:
    facts = [each.message for each in effects if isinstance(each, Announce)]
    return [fact for fact in facts if isinstance(fact, EnergyCharged)]


def doubted(effects: list[Effect]) -> str:
    (notice,) = effects
    assert isinstance(notice, Notice)
    assert notice.event == "energy.doubtful"
    return str(notice.facts["why"])


def test_a_later_word_replaces_the_earlier_and_only_the_growth_is_charged(till: Till) -> None:
    till.say(10.0)
    (fact,) = charged(till.say(25.0))
    assert till.used().gross_j == 25.0
    assert fact.joules.gross_j == pytest.approx(15.0)
    assert (fact.kernel, fact.place, fact.ops) == ("harmonic", "box/cpu0", 15e3)


def test_devices_add_up(till: Till) -> None:
    till.lease("lease-2", node="den")
    till.say(10.0)
    till.say(5.0, node="den", joules=Joules(5, 4, 0, 9, "estimated", "shared"))
    assert (till.used().gross_j, till.used().provenance) == (15.0, "estimated")


def test_a_bench_that_restarted_begins_a_new_account_beside_the_lost_one(till: Till) -> None:
    till.say(10.0)
    till.lease("lease-2")
    till.say(4.0, account="2.1", settled=True)
    assert till.used().gross_j == 14.0
    assert [tab.settled for tab in till.record.energy] == [False, True]


def test_settled_accounts_of_a_device_become_one(till: Till) -> None:
    for turn in range(1, 6):
        till.lease(f"lease-{turn}")
        till.say(10.0, account=f"1.{turn}", settled=True)
    (tab,) = till.record.energy
    assert (tab.joules.gross_j, tab.ops, tab.settled) == (50.0, 50e3, True)


def test_a_job_that_is_over_says_whose_last_word_is_missing(till: Till) -> None:
    till.say(10.0)
    till.roster.end(till.job, JobEvent.SUCCEEDED, "", "", "", till.tools.at(4.0))
    assert till.used().provenance == "unknown"
    assert till.used().why == "box/cpu0 has not told all that it used"
    effects = till.say(12.0, settled=True)
    assert till.used() == Joules(12.0, pytest.approx(9.6), pytest.approx(8.4), pytest.approx(13.2))
    assert [each.name for each in effects if isinstance(each, Persist)] == ["jobs/job-1/record"]


def test_a_job_without_a_device_has_used_nothing_that_anyone_knows(till: Till) -> None:
    record = JobRecord(
        JOB, "harmonic", till.tools.HASH, 1, JobOptions(), "f", JobState.SUBMITTED, 0.0
    )
    assert used(record, over=True) is None


def test_a_job_that_uses_more_than_its_budget_is_ended_with_both_numbers(
    tools: SimpleNamespace,
) -> None:
    till = Till(tools, max_joules=20.0)
    till.say(19.0)
    assert till.record.state is JobState.RUNNING
    till.say(21.5)
    assert (till.record.state, till.record.code) == (JobState.FAILED, "budget")
    assert till.record.error == "it used 21.5 J, 20 J were allowed"
    assert "raise max_joules" in till.record.hint


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"node": "den"}, "no lease there"),
        ({"joules": Joules(1.0, 2.0, 0.0, 3.0)}, "out of range"),
        ({"ops": float("nan")}, "out of range"),
        ({"busy_s": -1.0}, "out of range"),
        ({"account": ""}, "no name"),
        ({"account": "x" * 65}, "a long one"),
    ],
    ids=["stranger", "bounds", "nan", "negative", "unnamed", "chatty"],
)
def test_what_cannot_be_is_not_believed(till: Till, words: dict[str, Any], why: str) -> None:
    assert why in doubted(till.say(10.0, **words))
    assert till.used().gross_j == 0.0


def test_what_was_used_can_neither_shrink_nor_grow_after_it_was_settled(till: Till) -> None:
    till.say(10.0)
    assert "cannot shrink" in doubted(till.say(9.0))
    till.say(10.0, settled=True)
    assert "settled before" in doubted(till.say(99.0))
    assert till.used().gross_j == 10.0


def test_words_of_a_job_nobody_knows_or_of_nobody_are_ignored(till: Till) -> None:
    stray = JobEnergy(JobId("job-9"), "cpu0", "1.1", Joules(), 0.0, 0.0, settled=True)
    assert till.cashier.charge(BOX, stray, till.tools.at(1.0)) == []
    assert till.say(5.0, node="@control/1/1") == []
