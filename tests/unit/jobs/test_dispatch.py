"""The dispatcher: who gets what, and what an answer, a loss or a crash means."""

from types import SimpleNamespace

import pytest

from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.model import HARMLESS_ENDS, LeaseEnd
from qallow_agent.jobs.parcels import ResultHead
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Failed, Finished, Sweep, slice_points

SETTINGS = DispatchSettings()


@pytest.fixture
def two(tools: SimpleNamespace) -> Dispatcher:
    dispatcher = Dispatcher(SETTINGS)
    for name in ("one", "two"):
        dispatcher.granted(tools.lease(name, node=name))
    return dispatcher


def finish_all(dispatcher: Dispatcher, tools: SimpleNamespace, point_s: float = 1e-4) -> list:
    """Answer everything at once, in order, until nothing is left."""
    outcomes, now = [], 0.0
    orders = dispatcher.orders(now)
    while orders:
        order = orders.pop(0)
        now += 0.001
        heads = [tools.answer(piece, piece.points * point_s) for piece in order.pieces]
        outcomes += dispatcher.results(order.lease, heads, now)
        dispatcher.check()
        orders += dispatcher.orders(now)
    return outcomes


def test_few_tasks_are_spread_over_the_runners(two: Dispatcher) -> None:
    tasks = [two.add() for _ in range(2)]
    orders = two.orders(0.0)
    assert [(order.lease, order.pieces) for order in orders] == [
        ("one", [tasks[0]]), ("two", [tasks[1]]),
    ]  # fmt: skip
    assert all(piece.attempt == 1 for piece in tasks)
    assert not two.orders(0.1)


def test_a_second_task_goes_to_the_runner_with_less_in_flight(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    for name in ("one", "two"):
        dispatcher.granted(tools.lease(name))
        probe = dispatcher.add()
        dispatcher.orders(0.0)
        dispatcher.results(name, [tools.answer(probe)], 0.001)
    dispatcher.add()
    first = dispatcher.orders(0.01)[0].lease
    dispatcher.add()
    assert dispatcher.orders(0.01)[0].lease != first


def test_the_window_opens_after_the_first_answer(two: Dispatcher, tools: SimpleNamespace) -> None:
    for _ in range(3000):
        two.add()
    first = two.orders(0.0)
    assert [len(order.pieces) for order in first] == [1, 1]
    two.results("one", [tools.answer(first[0].pieces[0], 1e-5)], 0.001)
    ahead = tools.pieces(two.orders(0.001))
    assert len(ahead) == 1024  # the lease's credits


def test_long_tasks_are_not_queued_behind_each_other(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one"))
    for _ in range(5):
        dispatcher.add()
    piece = tools.pieces(dispatcher.orders(0.0))[0]
    dispatcher.results("one", [tools.answer(piece, 10.0)], 10.0)
    assert len(tools.pieces(dispatcher.orders(10.0))) == 1


def test_arrays_in_flight_are_bounded_by_bytes(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(DispatchSettings(ahead_bytes=100))
    dispatcher.granted(tools.lease("one"))
    for size in (1000, 60, 60, 30):
        dispatcher.add(input_bytes=size)
    big = tools.pieces(dispatcher.orders(0.0))
    assert [piece.input_bytes for piece in big] == [1000]  # an idle runner takes any size
    dispatcher.results("one", [tools.answer(big[0], 1e-5)], 0.1)
    assert [piece.input_bytes for piece in tools.pieces(dispatcher.orders(0.1))] == [60]


def test_every_point_of_a_sweep_is_finished_once(two: Dispatcher, tools: SimpleNamespace) -> None:
    sweep = two.add_sweep(100_000, "mark")
    outcomes = finish_all(two, tools)
    covered = sorted((each.piece.start, each.piece.points) for each in outcomes)
    assert [start for start, _ in covered] == [
        sum(points for _, points in covered[:index]) for index in range(len(covered))
    ]
    assert sum(points for _, points in covered) == sweep.points == sweep.closed
    assert two.idle
    assert two.tally.done == 100_000
    assert sum(two.share.values()) == 100_000
    assert all(each.piece.token is sweep.token for each in outcomes)


def test_slices_grow_to_their_target_and_shrink_at_the_tail(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one"))
    dispatcher.add_sweep(100_000)
    sizes = [each.piece.points for each in finish_all(dispatcher, tools)]
    assert sizes[0] == SETTINGS.slice_first_points
    assert max(sizes) * 1e-4 == pytest.approx(SETTINGS.slice_s, rel=0.01)
    assert sizes[-1] * 1e-4 <= 0.006


def test_a_faster_runner_gets_more_points_per_slice() -> None:
    sweep = Sweep(1, 1_000_000, None, 0)
    sweep.largest, sweep.rate = 100_000, 1100.0
    fast = slice_points(sweep, 1e-3, 2, SETTINGS)
    slow = slice_points(sweep, 1e-2, 2, SETTINGS)
    assert (fast, slow) == (50, 5)


def test_large_outputs_bound_a_slice() -> None:
    sweep = Sweep(1, 1_000_000, None, 1 << 20)
    sweep.largest = 100_000
    assert slice_points(sweep, 1e-9, 2, SETTINGS) == 16


def test_an_empty_sweep_is_complete_at_once(two: Dispatcher) -> None:
    sweep = two.add_sweep(0)
    assert two.idle
    assert sweep.closed == sweep.points
    assert two.orders(0.0) == []


def test_a_lost_lease_is_run_again_elsewhere_oldest_first(
    two: Dispatcher, tools: SimpleNamespace
) -> None:
    for _ in range(4):
        two.add()
    first = two.orders(0.0)
    lost = first[0].pieces
    assert two.lost("one", LeaseEnd.NODE_DOWN, "box is down") == []
    two.results("two", [tools.answer(first[1].pieces[0])], 0.1)
    again = tools.pieces(two.orders(0.1))
    assert again[0] is lost[0]
    assert lost[0].attempt == 2
    assert two.tally.rerun == 1


def test_losing_an_executor_too_often_fails_the_task(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS, retries=1)
    piece = dispatcher.add()
    for name in ("one", "two"):
        dispatcher.granted(tools.lease(name))
        dispatcher.orders(0.0)
        outcomes = dispatcher.lost(name, LeaseEnd.NODE_DOWN, "box is down")
    assert [(each.piece, each.code) for each in outcomes] == [(piece, "peer-lost")]
    assert "2 times" in outcomes[0].message
    assert dispatcher.idle


@pytest.mark.parametrize("end", sorted(HARMLESS_ENDS))
def test_a_harmless_end_costs_no_retry(tools: SimpleNamespace, end: LeaseEnd) -> None:
    dispatcher = Dispatcher(SETTINGS, retries=0)
    dispatcher.add()
    for number in range(5):
        dispatcher.granted(tools.lease(str(number)))
        dispatcher.orders(0.0)
        assert dispatcher.lost(str(number), end, "its turn is over") == []
    assert not dispatcher.idle


def test_a_late_answer_of_a_lost_lease_still_counts(
    two: Dispatcher, tools: SimpleNamespace
) -> None:
    piece = two.add()
    lease = two.orders(0.0)[0].lease
    head = tools.answer(piece)
    two.lost(lease, LeaseEnd.NODE_DOWN, "it seemed down")
    again = two.orders(0.1)[0]
    assert [type(each) for each in two.results(lease, [head], 0.2)] == [Finished]
    assert two.results(again.lease, [tools.answer(piece)], 0.3) == []
    assert two.tally.late == 1
    assert two.idle
    two.check()


def test_a_late_answer_to_a_queued_task_keeps_it_from_running_again(
    tools: SimpleNamespace,
) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one"))
    piece = dispatcher.add()
    dispatcher.orders(0.0)
    dispatcher.lost("one", LeaseEnd.NODE_DOWN, "it seemed down")
    dispatcher.results("one", [tools.answer(piece)], 0.1)
    dispatcher.granted(tools.lease("two"))
    assert dispatcher.orders(0.2) == []
    dispatcher.check()


def test_only_the_runner_that_was_asked_may_answer(two: Dispatcher, tools: SimpleNamespace) -> None:
    piece = two.add()
    asked = two.orders(0.0)[0].lease
    other = "two" if asked == "one" else "one"
    assert two.results(other, [tools.answer(piece)], 0.1) == []
    assert two.results("unheard-of", [tools.answer(piece)], 0.1) == []
    wrong_attempt = ResultHead(piece.number, 7, 0.1)
    assert two.results(asked, [wrong_attempt], 0.1) == []
    assert two.tally.late == 3
    assert len(two.results(asked, [tools.answer(piece)], 0.1)) == 1


def test_a_duplicated_answer_is_counted_and_dropped(
    two: Dispatcher, tools: SimpleNamespace
) -> None:
    piece = two.add()
    lease = two.orders(0.0)[0].lease
    head = tools.answer(piece)
    assert len(two.results(lease, [head, head], 0.1)) == 1
    assert two.tally.late == 1


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_nonsense_timings_of_a_runner_are_taken_as_unknown(
    two: Dispatcher, tools: SimpleNamespace, seconds: float
) -> None:
    two.add_sweep(1000)
    order = two.orders(0.0)[0]
    outcome = two.results(order.lease, [tools.answer(order.pieces[0], seconds)], 0.1)[0]
    assert isinstance(outcome, Finished)
    assert outcome.seconds == 0.0
    assert two.orders(0.1)


def test_a_fault_fails_only_its_task(two: Dispatcher, tools: SimpleNamespace) -> None:
    bad, good = two.add("bad"), two.add("good")
    orders = {order.pieces[0]: order.lease for order in two.orders(0.0)}
    (failed,) = two.results(orders[bad], [tools.answer(bad, fault="kernel-failed")], 0.1)
    (fine,) = two.results(orders[good], [tools.answer(good)], 0.1)
    assert isinstance(failed, Failed)
    assert (failed.piece, failed.code, failed.traceback) == (bad, "kernel-failed", "Traceback")
    assert isinstance(fine, Finished)


def test_a_faulty_slice_is_split_until_only_its_faulty_point_fails(
    tools: SimpleNamespace,
) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one"))
    dispatcher.add_sweep(256)
    outcomes = []
    while orders := dispatcher.orders(0.0):
        for order in orders:
            heads = [
                tools.answer(p, fault="kernel-failed" if p.start <= 77 < p.start + p.points else "")
                for p in order.pieces
            ]
            outcomes += dispatcher.results(order.lease, heads, 0.0)
            dispatcher.check()
    failed = [each.piece for each in outcomes if isinstance(each, Failed)]
    assert [(piece.start, piece.points) for piece in failed] == [(77, 1)]
    assert dispatcher.tally.done == 255


def crash(dispatcher: Dispatcher, tools: SimpleNamespace, point: int) -> list:
    """Run a sweep in which one point kills its runner; leases are replaced as they die."""
    outcomes, born = [], 0
    while not dispatcher.idle:
        if not dispatcher._lines:
            born += 1
            dispatcher.granted(tools.lease(f"lease-{born}"))
        for order in dispatcher.orders(0.0):
            for piece in order.pieces:
                if piece.start <= point < piece.start + piece.points:
                    outcomes += dispatcher.lost(
                        order.lease, LeaseEnd.CRASHED, "SIGSEGV", piece.number, piece.attempt
                    )
                    break
                outcomes += dispatcher.results(order.lease, [tools.answer(piece)], 0.0)
            dispatcher.check()
    return outcomes


def test_a_point_that_crashes_its_runner_fails_alone(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS, retries=0)
    dispatcher.add_sweep(500)
    outcomes = crash(dispatcher, tools, 123)
    failed = [each for each in outcomes if isinstance(each, Failed)]
    assert [(each.piece.start, each.piece.points, each.code) for each in failed] == [
        (123, 1, "kernel-failed")
    ]
    assert "killed its runner 2 times: SIGSEGV" in failed[0].message
    assert dispatcher.tally.done == 499
    assert dispatcher.tally.kills <= 6


def test_a_single_poison_task_gets_a_second_chance_and_no_third(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    poison, innocent = dispatcher.add(), dispatcher.add()
    for attempt in (1, 2):
        dispatcher.granted(tools.lease(str(attempt)))
        dispatcher.orders(0.0)
        outcomes = dispatcher.lost(
            str(attempt), LeaseEnd.CRASHED, "SIGSEGV", poison.number, poison.attempt
        )
    assert [each.piece for each in outcomes] == [poison]
    assert not innocent.settled


def test_blame_for_another_attempt_is_no_evidence(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    piece = dispatcher.add()
    dispatcher.granted(tools.lease("one"))
    dispatcher.orders(0.0)
    dispatcher.lost("one", LeaseEnd.CRASHED, "SIGSEGV", piece.number, 9)
    assert piece.strikes == 0
    assert piece.losses == 1


def test_a_task_over_its_limit_is_not_tried_again(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    piece = dispatcher.add()
    dispatcher.granted(tools.lease("one"))
    dispatcher.orders(0.0)
    (failed,) = dispatcher.lost("one", LeaseEnd.OVERRAN, "ran for 60 s", piece.number, 1)
    assert failed.code == "deadline"


def test_a_job_that_keeps_killing_runners_is_given_up(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(DispatchSettings(most_kills=3))
    for _ in range(10):
        dispatcher.add()
    failed = []
    for number in range(3):
        dispatcher.granted(tools.lease(str(number)))
        piece = tools.pieces(dispatcher.orders(0.0))[0]
        failed += dispatcher.lost(
            str(number), LeaseEnd.CRASHED, "SIGSEGV", piece.number, piece.attempt
        )
    assert dispatcher.idle
    assert len(failed) == 10
    assert "killed 3 runners" in failed[-1].message


def test_later_work_does_not_pay_for_earlier_crashes(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(DispatchSettings(most_kills=3))
    for number in range(4):
        piece = dispatcher.add()
        for life in range(2):
            name = f"{number}-{life}"
            dispatcher.granted(tools.lease(name))
            dispatcher.orders(0.0)
            outcomes = dispatcher.lost(
                name, LeaseEnd.CRASHED, "SIGSEGV", piece.number, piece.attempt
            )
        assert "killed its runner 2 times" in outcomes[0].message
    assert dispatcher.tally.kills == 8


def test_a_deadline_fails_a_task_and_its_result_is_late(
    two: Dispatcher, tools: SimpleNamespace
) -> None:
    piece = two.add(deadline_s=5.0)
    lease = two.orders(0.0)[0].lease
    assert two.next_deadline() is not None
    assert two.tick(4.9) == []
    (failed,) = two.tick(5.0)
    assert failed.code == "deadline"
    assert two.results(lease, [tools.answer(piece)], 5.1) == []
    assert two.next_deadline() is None


def test_a_cancelled_task_has_no_outcome(two: Dispatcher, tools: SimpleNamespace) -> None:
    queued, flying = two.add(), two.add()
    assert two.cancel(queued)
    assert not two.cancel(queued)
    order = two.orders(0.0)[0]
    assert order.pieces == [flying]
    assert two.cancel(flying)
    assert two.results(order.lease, [tools.answer(flying)], 0.1) == []
    assert two.idle
    two.check()


def test_a_cancelled_sweep_gives_up_what_is_left(two: Dispatcher, tools: SimpleNamespace) -> None:
    sweep = two.add_sweep(1000)
    order = two.orders(0.0)[0]
    done = order.pieces[0].points
    two.results(order.lease, [tools.answer(order.pieces[0])], 0.1)
    two.orders(0.1)
    assert two.cancel_sweep(sweep) == 1000 - done
    assert two.idle
    assert two.orders(0.2) == []
    two.check()


def test_stopping_fails_queued_flying_and_uncut_work(two: Dispatcher) -> None:
    two.add_sweep(100_000)
    task = two.add()
    two.orders(0.0)
    outcomes = two.stop("cancelled", "the job was cancelled")
    assert sum(each.piece.points for each in outcomes if each.piece.sweep) == 100_000
    assert task in [each.piece for each in outcomes]
    assert {each.code for each in outcomes} == {"cancelled"}
    assert two.tally.failed == 0
    assert two.idle
    assert two.stop("cancelled", "again") == []
    two.check()


def test_a_stalled_runner_is_hedged_by_an_idle_one(two: Dispatcher, tools: SimpleNamespace) -> None:
    for _ in range(2):
        piece = two.add()
        order = next(each for each in two.orders(0.0) if each.pieces == [piece])
        two.results(order.lease, [tools.answer(piece, 0.01)], 0.01)
    stuck = two.add()
    slow = two.orders(0.02)[0].lease
    assert two.next_deadline() is not None
    assert two.orders(0.2) == []
    (hedge,) = two.orders(1.0)
    assert hedge.lease != slow
    assert hedge.pieces == [stuck]
    assert stuck.attempt == 2
    assert two.orders(2.0) == []
    assert len(two.results(hedge.lease, [ResultHead(stuck.number, 2, 0.01)], 2.0)) == 1
    assert two.results(slow, [ResultHead(stuck.number, 1, 0.01)], 3.0) == []
    assert two.tally.hedged == 1
    assert two.idle
    two.check()


def test_losing_one_of_two_attempts_does_not_start_a_third(
    two: Dispatcher, tools: SimpleNamespace
) -> None:
    test_a_stalled_runner_is_hedged_by_an_idle_one(two, tools)
    stuck = two.add()
    slow = two.orders(4.0)[0].lease
    (hedge,) = two.orders(6.0)
    two.lost(slow, LeaseEnd.NODE_DOWN, "down")
    assert two.orders(6.1) == []
    assert len(two.results(hedge.lease, [tools.answer(stuck)], 6.2)) == 1


def test_a_lease_granted_twice_counts_once(two: Dispatcher, tools: SimpleNamespace) -> None:
    two.lost("one", LeaseEnd.NODE_DOWN, "down")
    two.granted(tools.lease("one", node="one"))
    two.granted(tools.lease("two", node="two"))
    two.add()
    two.add()
    assert [order.lease for order in two.orders(0.0)] == ["two"]


def test_useful_slots_follow_the_work_left(two: Dispatcher) -> None:
    assert two.useful_slots(8) == 0
    two.add()
    assert two.useful_slots(8) == 1
    two.add_sweep(1_000_000)
    assert two.useful_slots(8) == 8


def test_concurrent_sweeps_share_the_runners(two: Dispatcher) -> None:
    sweeps = [two.add_sweep(1000) for _ in range(2)]
    assert {order.pieces[0].sweep for order in two.orders(0.0)} == set(sweeps)


def test_an_uncut_sweep_can_be_cancelled(two: Dispatcher) -> None:
    sweep = two.add_sweep(100)
    assert two.cancel_sweep(sweep) == 100
    assert two.cancel_sweep(sweep) == 0
    assert two.idle


def test_every_idle_runner_takes_one_task_of_a_stalled_one(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("slow"))
    probe = dispatcher.add()
    dispatcher.orders(0.0)
    dispatcher.results("slow", [tools.answer(probe, 0.01)], 0.01)
    stuck = [dispatcher.add() for _ in range(4)]
    assert len(tools.pieces(dispatcher.orders(0.02))) == 4
    for name in ("one", "two"):
        dispatcher.granted(tools.lease(name))
    hedged = dispatcher.orders(2.0)
    assert tools.pieces(hedged) == stuck[:2]
    assert dispatcher.orders(2.1) == []
    dispatcher.check()


def test_speeds_of_old_sweeps_are_forgotten(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one"))
    for _ in range(70):
        dispatcher.add_sweep(1)
    finish_all(dispatcher, tools)
    assert len(dispatcher._lines["one"].rates) == 64


def test_the_first_slice_is_no_longer_than_its_hint_allows(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.add_sweep(10_000)
    for name, hint_s in (("fast", 1e-6), ("slow", 0.02), ("slower", 5.0), ("unknown", None)):
        dispatcher.granted(tools.lease(name), hint_s)
    first = {order.lease: order.pieces[0].points for order in dispatcher.orders(0.0)}
    assert first == {"fast": 64, "slow": 2, "slower": 1, "unknown": 64}


def test_a_runner_that_was_not_measured_is_taken_for_no_faster_than_it_was_said_to_be(
    tools: SimpleNamespace,
) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.add_sweep(1_000_000)
    dispatcher.granted(tools.lease("fast"), 1e-4)
    (order,) = dispatcher.orders(0.0)
    dispatcher.results("fast", [ResultHead(order.pieces[0].number, 1, 0.0064)], 0.01)
    dispatcher.granted(tools.lease("slow"), 1e-2)
    points = {order.lease: order.pieces[0].points for order in dispatcher.orders(0.02)}
    assert points["slow"] == 5
    assert points["fast"] == 500


def stuck_tail(tools: SimpleNamespace, fast_s: float) -> tuple[Dispatcher, str, str]:
    """Return a dispatcher whose sweep is all handed out: one runner is done, one has a point."""
    dispatcher = Dispatcher(DispatchSettings(slice_most_points=1, slices_ahead=1))
    for name in ("slow", "fast"):
        dispatcher.granted(tools.lease(name, node=name))
    dispatcher.add_sweep(4)
    for now in (0.0, 10.0):
        orders = {order.lease: order.pieces[0] for order in dispatcher.orders(now)}
        dispatcher.results("fast", [ResultHead(orders["fast"].number, 1, fast_s)], now + fast_s)
        if now == 0.0:
            dispatcher.results("slow", [ResultHead(orders["slow"].number, 1, 10.0)], 10.0)
    return dispatcher, "slow", "fast"


def test_an_idle_runner_takes_over_what_a_slow_one_has_just_begun(tools: SimpleNamespace) -> None:
    dispatcher, slow, fast = stuck_tail(tools, fast_s=1.0)
    (theft,) = dispatcher.orders(11.1)
    assert theft.lease == fast
    assert (dispatcher.tally.stolen, dispatcher.tally.hedged) == (1, 0)
    piece = theft.pieces[0]
    assert len(dispatcher.results(fast, [ResultHead(piece.number, 2, 1.0)], 12.1)) == 1
    assert dispatcher.idle
    assert not dispatcher.results(slow, [ResultHead(piece.number, 1, 10.0)], 20.0)
    assert dispatcher.tally.late == 1


def test_nothing_is_taken_over_that_would_not_be_done_much_sooner(tools: SimpleNamespace) -> None:
    dispatcher, _, _ = stuck_tail(tools, fast_s=7.0)
    assert not dispatcher.orders(17.1)
    assert dispatcher.tally.stolen == 0


def test_a_link_is_timed_by_what_is_large_and_travels_alone(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one", node="one"))
    piece = dispatcher.add(input_bytes=1_000)
    dispatcher.orders(0.0)
    dispatcher.results("one", [ResultHead(piece.number, 1, 2.0)], 2.5)
    assert dispatcher.links() == {}
    piece = dispatcher.add(input_bytes=1 << 20)
    dispatcher.orders(100.0)
    dispatcher.results("one", [ResultHead(piece.number, 1, 2.0)], 102.25)
    assert dispatcher.links() == {"one/cpu0": (1 << 20) / 0.25}


def test_what_waited_behind_others_says_nothing_of_a_link(tools: SimpleNamespace) -> None:
    dispatcher = Dispatcher(SETTINGS)
    dispatcher.granted(tools.lease("one", node="one"))
    probe = dispatcher.add()
    dispatcher.orders(0.0)
    dispatcher.results("one", [tools.answer(probe)], 0.1)
    pieces = [dispatcher.add(input_bytes=1 << 20) for _ in range(2)]
    dispatcher.orders(1.0)
    for number, piece in enumerate(pieces):
        head = ResultHead(piece.number, 1, 0.1)
        dispatcher.results("one", [head], 2.0 + number)
    assert dispatcher.links() == {}
