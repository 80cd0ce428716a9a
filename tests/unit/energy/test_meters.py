"""The meters of a node: from readings and tallies to settled accounts, rates and sums."""

import pytest

from qallow_agent.base.errors import InvariantBroken, StorageCorrupt
from qallow_agent.base.ids import JobId, LeaseId, NodeId, RunnerId
from qallow_agent.base.joules import Joules
from qallow_agent.base.machine import Effect, Instant, Persist
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.energy.meter import PATIENCE_S, Account
from qallow_agent.energy.meters import Lent, Meters, Sample
from qallow_agent.energy.sums import DAY_S, NAME, Sums
from qallow_agent.energy.windows import Use

DAWN_S = 20_000 * DAY_S
NO_METER = unknown("joules", "none", "the CPU offers no RAPL counter")
IDLE_W = 10.0
RUNNER = RunnerId("runner-1")


def at(seconds: float) -> Instant:
    return Instant(seconds, int((DAWN_S + seconds) * 1e9))


class Bench:
    """One device of two slots with 10 W at rest, read every second; time only goes forward."""

    def __init__(self, **reading: str) -> None:
        self.meters = Meters(epoch=7, kept={})
        self.now = 0.0
        self.joules = 0.0
        self.reading = reading
        self.told: list[Account] = []
        self.sense()

    def lease(self, name: str, job: str = "job-1") -> None:
        lent = Lent(LeaseId(name), RUNNER, JobId(job), NodeId("desk"), "cpu0", "harmonic")
        self.meters.lend(lent)

    def sense(self, reading: Reading | None = None) -> None:
        shown = Reading(self.joules, "joules", "rapl", **self.reading)  # type: ignore[arg-type]
        sample = Sample(2, reading or shown, self.now)
        self.told += self.meters.sense({"cpu0": sample}, at(self.now))
        self.meters.check()

    def pass_s(self, seconds: int, *busy: str, extra_w: float = 0.0, ops: float = 0.0) -> None:
        """Let time pass in which leases work, each telling at the end of each second."""
        for _ in range(seconds):
            begin_s, self.now = self.now, self.now + 1.0
            self.joules += IDLE_W + extra_w
            for name in busy:
                self.meters.worked(RUNNER, LeaseId(name), begin_s, self.now, Use(1.0, ops))
            self.sense()

    def end(self, *names: str) -> None:
        for name in names:
            self.meters.end(LeaseId(name), self.now)

    def last(self, job: str = "job-1") -> Account:
        return [account for account in self.told if account.job == job][-1]


def test_a_job_gets_its_joules_and_its_account_is_closed_when_all_is_settled() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(4, "one", extra_w=30.0, ops=1e6)
    bench.end("one")
    assert not bench.last().settled
    bench.pass_s(4)
    account = bench.last()
    assert account.settled
    assert account.used == Joules(140.0, 120.0, 120.0, 140.0)
    assert (account.ops, account.busy_s, account.name) == (4e6, 4.0, "7.1")


def test_the_runners_of_one_job_share_an_account_and_are_no_strangers_to_each_other() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.lease("two")
    bench.pass_s(4, "one", "two", extra_w=60.0)
    bench.end("one")
    bench.pass_s(4, "two", extra_w=30.0)
    bench.end("two")
    bench.pass_s(4)
    account = bench.last()
    assert account.settled
    assert account.used.provenance == "measured"
    assert account.used.net_j == pytest.approx(360.0)
    assert account.used.gross_j == pytest.approx(360.0 + 40.0 + 20.0)


def test_two_jobs_at_a_time_are_an_estimate_that_adds_up() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one", "job-1")
    bench.lease("two", "job-2")
    bench.pass_s(5, "one", "two", extra_w=60.0)
    bench.end("one", "two")
    bench.pass_s(4)
    one, two = bench.last("job-1").used, bench.last("job-2").used
    assert one.provenance == two.provenance == "estimated"
    assert one.gross_j == two.gross_j == pytest.approx(175.0)
    assert one.low_j == 0.0
    assert one.high_j >= 300.0


def test_a_device_without_a_meter_costs_an_unknown_number_of_joules() -> None:
    meters = Meters(epoch=1, kept={})
    sample = {"cpu0": Sample(2, NO_METER, 0.0)}
    meters.sense(sample, at(0.0))
    meters.lend(Lent(LeaseId("one"), RUNNER, JobId("job-1"), NodeId("desk"), "cpu0", "harmonic"))
    meters.worked(RUNNER, LeaseId("one"), 0.0, 1.0, Use(1.0, 5.0))
    meters.end(LeaseId("one"), 1.0)
    assert meters.sense(sample, at(1.0)) == []
    (account,) = meters.sense(sample, at(4.0))
    assert account.settled
    assert account.used.provenance == "unknown"
    assert account.used.why == "cpu0 has no energy meter: the CPU offers no RAPL counter"
    assert meters.sense(sample, at(5.0)) == []
    assert list(meters.sums.devices(0.0)) == []


def test_an_estimating_meter_makes_estimates_and_names_its_model() -> None:
    bench = Bench(provenance="estimated", why="samples of the power of gpu0 added up")
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(3, "one", extra_w=30.0)
    bench.end("one")
    bench.pass_s(4)
    used = bench.last().used
    assert (used.provenance, used.why) == ("estimated", "samples of the power of gpu0 added up")


def test_a_counter_that_begins_anew_leaves_that_window_unknown() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(2, "one", extra_w=30.0)
    bench.joules = 0.0
    bench.pass_s(2, "one", extra_w=30.0)
    bench.end("one")
    bench.pass_s(4)
    used = bench.last().used
    assert used.provenance == "unknown"
    assert "began anew" in used.why
    assert used.gross_j == pytest.approx(3 * 35.0)


def test_power_that_was_not_sampled_for_a_while_leaves_that_window_unknown() -> None:
    bench = Bench(provenance="estimated", why="samples of the battery's power added up")
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(2, "one", extra_w=30.0)
    bench.now += 5.0
    bench.sense(unknown("joules", "power_supply", "the battery is not being drained"))
    bench.pass_s(2, "one", extra_w=30.0)
    bench.end("one")
    bench.pass_s(4)
    used = bench.last().used
    assert (used.provenance, used.gross_j) == ("unknown", pytest.approx(3 * 35.0))
    assert "had a gap" in used.why


def test_a_counter_that_falls_silent_is_not_waited_for_for_ever() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(2, "one", extra_w=30.0)
    bench.meters.worked(RUNNER, LeaseId("one"), bench.now, bench.now + 0.5, Use(0.5))
    bench.end("one")
    bench.now += PATIENCE_S / 2
    bench.sense(NO_METER)
    assert not bench.last().settled
    bench.now += PATIENCE_S / 2
    bench.sense(NO_METER)
    assert bench.last().settled
    assert "fell silent" in bench.last().used.why


def test_a_runner_that_died_in_a_task_leaves_an_estimate() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    for _ in range(4):
        bench.joules += 40.0
        bench.now += 1.0
        bench.meters.working(RUNNER, LeaseId("one"), 3.0, bench.now)
        bench.sense()
    bench.end("one")
    bench.pass_s(5)
    account = bench.last()
    assert account.settled
    assert account.used.provenance == "estimated"
    assert "in the middle of a task" in account.used.why
    assert account.used.net_j == pytest.approx(120.0)


def test_joules_per_op_are_learnt_and_only_news_is_told() -> None:
    bench = Bench()
    bench.pass_s(3)
    assert bench.meters.rates("cpu0") == {}
    bench.lease("one")
    bench.pass_s(8, "one", extra_w=30.0, ops=1e6)
    assert bench.meters.rates("cpu0") == {"harmonic": pytest.approx(35e-6)}
    bench.pass_s(8, "one", extra_w=33.0, ops=1e6)
    assert bench.meters.rates("cpu0") == {"harmonic": pytest.approx(35e-6)}
    bench.pass_s(20, "one", extra_w=90.0, ops=1e6)
    assert bench.meters.rates("cpu0")["harmonic"] > 60e-6
    assert bench.meters.rates("gpu0") == {}


@pytest.mark.parametrize(
    ("runner", "use"),
    [
        ("runner-2", Use(1.0, 1e6)),
        ("runner-1", Use(float("nan"), 1e6)),
        ("runner-1", Use(1.0, float("inf"))),
        ("runner-1", Use(-1.0, 1e6)),
    ],
    ids=["another's lease", "nan", "infinite", "negative"],
)
def test_a_runner_is_believed_only_about_its_own_lease_and_what_can_be(
    runner: str, use: Use
) -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(1)
    bench.meters.worked(RunnerId(runner), LeaseId("one"), 3.0, 4.0, use)
    bench.meters.working(RunnerId("runner-2"), LeaseId("one"), 3.0, 4.0)
    bench.end("one")
    bench.pass_s(4)
    assert bench.last().settled
    assert bench.last().used == Joules()


def test_a_runner_was_busy_for_no_longer_than_its_work_lasted() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("one")
    bench.pass_s(1)
    bench.meters.worked(RUNNER, LeaseId("one"), 3.0, 4.0, Use(1e9, 1.0))
    bench.end("one")
    bench.pass_s(4)
    assert bench.last().busy_s == 1.0


def test_a_job_that_is_leased_a_device_again_and_again_has_one_account() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.lease("turn-0")
    for turn in range(6):
        bench.pass_s(2, f"turn-{turn}", extra_w=30.0)
        bench.lease(f"turn-{turn + 1}")
        bench.end(f"turn-{turn}")
    assert len(bench.meters._meters["cpu0"].accounts) <= 3
    bench.end("turn-6")
    bench.pass_s(5)
    assert {account.name for account in bench.told} == {"7.1"}
    assert bench.last().used.net_j == pytest.approx(360.0)


def test_a_lease_nobody_knows_changes_nothing() -> None:
    bench = Bench()
    bench.meters.worked(RUNNER, LeaseId("gone"), 0.0, 1.0, Use(1.0))
    bench.meters.working(RUNNER, LeaseId("gone"), 0.0, 1.0)
    bench.meters.end(LeaseId("gone"), 1.0)
    bench.pass_s(3)
    assert bench.told == []


def test_joules_that_do_not_add_up_are_found() -> None:
    bench = Bench()
    bench.pass_s(4)
    bench.meters._meters["cpu0"].idle_j += 1.0
    with pytest.raises(InvariantBroken, match="cpu0 drew"):
        bench.meters.check()


# --- sums -----------------------------------------------------------------------------------------


def saved(effects: list[Effect]) -> dict[str, bytes]:
    return {each.name: each.data or b"" for each in effects if isinstance(each, Persist)}


def test_sums_survive_a_restart_and_are_written_rarely() -> None:
    sums = Sums({})
    assert sums.save() == []
    sums.add_device("cpu0", 50.0, 20.0, "measured", at(0.0))
    assert sums.save(60.0) == []
    sums.add_work("harmonic", "box/cpu0", Joules(30, 25, 20, 40), 1e6, 2.0, at(10.0))
    assert sums.save(60.0) == []
    kept = saved(sums.save(70.0))
    assert list(kept) == [NAME]
    assert sums.save() == []
    again = Sums(kept)
    again.add_work("harmonic", "box/cpu0", Joules(30, 25, 20, 40), 1e6, 2.0, at(20.0))
    (work,) = again.work(0.0)
    assert (work.joules.gross_j, work.ops, work.busy_s, work.unknown_s) == (60, 2e6, 4, 0)
    (device,) = again.devices(0.0)
    assert (device.drawn_j, device.idle_j) == (50, 20)


def test_work_of_unknown_cost_does_not_dilute_the_joules_of_an_op() -> None:
    sums = Sums({})
    sums.add_work("harmonic", "box/cpu0", Joules(30, 25, 20, 40), 1e6, 2.0, at(0.0))
    sums.add_work("harmonic", "box/cpu0", Joules(provenance="unknown"), 1e6, 3.0, at(0.0))
    (work,) = sums.work(0.0)
    assert (work.ops, work.busy_s, work.unknown_s) == (1e6, 5.0, 3.0)


def test_days_are_kept_apart_and_the_oldest_make_room() -> None:
    sums = Sums({})
    for day in range(500):
        moment = at(day * DAY_S)
        sums.add_device("cpu0", 1.0, 1.0, "measured", moment)
        for kernel in range(12):
            sums.add_work(f"k{kernel}", "box/cpu0", Joules(1, 1, 1, 1), 1, 1, moment)
    assert len(list(sums.devices(0.0))) == 400
    assert len(list(sums.work(0.0))) == 4096
    today_s = DAWN_S + 499 * DAY_S
    assert len(list(sums.work(today_s))) == 12
    assert len(list(sums.devices(today_s - DAY_S))) == 2


def test_sums_that_do_not_decode_are_named() -> None:
    with pytest.raises(StorageCorrupt, match="energy/sums does not decode"):
        Sums({NAME: b"\xc1"})
