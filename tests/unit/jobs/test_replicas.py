"""Pieces that several devices answer: who is asked, what a verdict takes, what audits are drawn."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.agreement import grouped
from qallow_agent.jobs.dispatch import Dispatcher
from qallow_agent.jobs.model import LeaseEnd
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.jobs.work import Agreed, Answered, Compared, Failed, Finished, Outcome, Piece

SETTINGS = DispatchSettings(tie_s=10.0)


class Bench:
    """A dispatcher and runners that answer at once what ``says`` gives for their place."""

    def __init__(self, tools: SimpleNamespace, places: str, verify: int = 2, **more: Any) -> None:
        self.tools = tools
        self.now = 0.0
        self.dispatcher = Dispatcher(SETTINGS, verify=verify, patience_s=60.0, **more)
        self.asked: dict[int, list[str]] = {}
        self.says: dict[str, object] = {}
        self.faults: dict[str, str] = {}
        self.mute: set[str] = set()
        self.delivered: dict[int, object] = {}
        self.outcomes: list[Outcome] = []
        for place in places.split():
            self.grant(place)

    def grant(self, place: str, **more: Any) -> None:
        node, _, device = place.partition("/")
        lease = self.tools.lease(place, node=node, device=device or "cpu0")
        self.dispatcher.granted(lease, **more)

    def run(self) -> None:
        """Send and answer until nothing more happens."""
        while orders := self.dispatcher.orders(self.now):
            for order in orders:
                for piece in order.pieces:
                    self.asked.setdefault(piece.number, []).append(order.lease)
                if order.lease in self.mute:
                    continue
                fault = self.faults.get(order.lease, "")
                heads = [self.tools.answer(piece, 0.001, fault) for piece in order.pieces]
                self.now += 0.001
                self.take(self.dispatcher.results(order.lease, heads, self.now), order.lease)
                self.dispatcher.check()

    def take(self, outcomes: list[Outcome], lease: str = "") -> None:
        for outcome in outcomes:
            if isinstance(outcome, Answered):
                outcome.answer.content = self.says.get(lease, "right")
                panel = outcome.piece.panel
                assert panel is not None
                contents = [answer.content for answer in panel.answers]
                classes = grouped(
                    len(contents), lambda one, other, all_=contents: all_[one] == all_[other]
                )
                self.take(self.dispatcher.arbiter.judged(outcome.piece, classes))
                continue
            self.outcomes.append(outcome)
            if isinstance(outcome, Agreed):
                self.delivered[outcome.piece.number] = outcome.answer.content
            if isinstance(outcome, Finished) and outcome.audit is not None:
                assert outcome.audit.panel is not None
                outcome.audit.panel.answers[0].content = self.says.get(lease, "right")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.dispatcher.tick(self.now))
        self.run()


@pytest.fixture
def made(tools: SimpleNamespace) -> Any:
    return lambda *given, **more: Bench(tools, *given, **more)


def only(bench: Bench) -> Outcome:
    (outcome,) = bench.outcomes
    return outcome


def test_each_task_runs_on_as_many_different_devices_as_asked(made: Any) -> None:
    bench = made("a b c", verify=2)
    pieces = [bench.dispatcher.add() for _ in range(20)]
    bench.run()
    assert set(bench.delivered) == {piece.number for piece in pieces}
    assert all(len(set(asked)) == len(asked) == 2 for asked in bench.asked.values())
    assert bench.dispatcher.tally.done == sum(bench.dispatcher.share.values()) == 20


def test_two_runners_of_one_device_are_one_device(made: Any) -> None:
    bench = made("a", verify=2)
    bench.dispatcher.granted(bench.tools.lease("a2", node="a", device="cpu0"))
    bench.dispatcher.add()
    bench.run()
    assert not bench.outcomes
    assert bench.dispatcher.replicas.missing == 1


def test_different_nodes_are_preferred_to_devices_of_one(made: Any) -> None:
    bench = made("a/cpu0 a/gpu0 b/cpu0", verify=2)
    for _ in range(12):
        bench.dispatcher.add()
    bench.run()
    nodes = [{lease.partition("/")[0] for lease in asked} for asked in bench.asked.values()]
    assert nodes == [{"a", "b"}] * 12


def test_devices_of_one_node_do_where_there_is_no_other_node(made: Any) -> None:
    bench = made("a/cpu0 a/gpu0", verify=2)
    bench.dispatcher.add()
    bench.run()
    assert isinstance(only(bench), Agreed)


def test_the_first_answer_is_held_until_the_second_agrees(made: Any) -> None:
    bench = made("a b", verify=2)
    bench.mute.add("b")
    piece = bench.dispatcher.add()
    bench.run()
    assert bench.asked[piece.number] == ["a", "b"]
    assert not bench.outcomes
    assert not bench.dispatcher.idle


def test_two_that_differ_are_decided_by_a_third(made: Any) -> None:
    bench = made("a b c", verify=2)
    bench.says["a"] = "wrong"
    pieces = [bench.dispatcher.add() for _ in range(9)]
    bench.run()
    assert [bench.delivered[piece.number] for piece in pieces] == ["right"] * 9
    assert {len(asked) for asked in bench.asked.values()} == {2, 3}


def test_two_that_differ_without_a_third_fail_after_a_while_and_name_both(made: Any) -> None:
    bench = made("a b", verify=2)
    bench.says["a"] = "wrong"
    bench.dispatcher.add()
    bench.run()
    assert bench.dispatcher.replicas.missing == 1
    due_s = bench.dispatcher.next_deadline()
    assert due_s == pytest.approx(bench.now + SETTINGS.tie_s, abs=0.01)
    bench.pass_time(SETTINGS.tie_s)
    outcome = only(bench)
    assert isinstance(outcome, Failed)
    assert outcome.code == "result-disagreement"
    assert "a/cpu0 against b/cpu0" in outcome.message


def test_a_third_that_comes_in_time_decides(made: Any) -> None:
    bench = made("a b", verify=2)
    bench.says["b"] = "wrong"
    piece = bench.dispatcher.add()
    bench.run()
    bench.grant("c")
    bench.run()
    assert bench.delivered == {piece.number: "right"}


def test_three_that_all_differ_fail_the_task(made: Any) -> None:
    bench = made("a b c", verify=3)
    bench.says |= {"a": 1, "b": 2, "c": 3}
    bench.dispatcher.add()
    bench.run()
    outcome = only(bench)
    assert isinstance(outcome, Failed)
    assert (outcome.code, bench.dispatcher.idle) == ("result-disagreement", True)


def test_a_slice_on_which_all_differ_is_split_until_the_points_stand_alone(made: Any) -> None:
    bench = made("a b c", verify=3)
    bench.says |= {"a": 1, "b": 2, "c": 3}
    bench.dispatcher.add_sweep(16)
    bench.run()
    failed = [each for each in bench.outcomes if isinstance(each, Failed)]
    assert sorted(each.piece.start for each in failed) == list(range(16))
    assert any(isinstance(each, Compared) for each in bench.outcomes)


def test_two_of_three_alike_decide_when_the_third_is_lost_for_good(made: Any) -> None:
    bench = made("a b c", verify=3)
    bench.mute.add("c")
    pieces = [bench.dispatcher.add() for _ in range(3)]
    bench.run()
    bench.take(bench.dispatcher.lost("c", LeaseEnd.UNFIT, "it lied"))
    bench.run()
    assert not bench.outcomes
    bench.pass_time(0.001)
    bench.pass_time(SETTINGS.tie_s)
    assert set(bench.delivered) == {piece.number for piece in pieces}
    assert bench.dispatcher.tally.short == 3
    later = bench.dispatcher.add()
    bench.run()
    bench.pass_time(0.001)
    assert later.number in bench.delivered, "nobody waits again for what is known to be missing"


def test_a_second_device_that_never_comes_fails_the_task_and_says_how_many_there_were(
    made: Any,
) -> None:
    bench = made("a", verify=2)
    bench.dispatcher.add()
    bench.run()
    bench.pass_time(60.1)
    outcome = only(bench)
    assert isinstance(outcome, Failed)
    assert outcome.code == "no-device"
    assert "2 different devices" in outcome.message
    assert "on 1 for" in outcome.message


def test_what_a_lost_runner_was_asked_is_asked_of_another(made: Any) -> None:
    bench = made("a b c", verify=2)
    bench.mute.add("b")
    pieces = [bench.dispatcher.add() for _ in range(4)]
    bench.run()
    bench.take(bench.dispatcher.lost("b", LeaseEnd.CRASHED, "it is gone"))
    bench.run()
    assert set(bench.delivered) == {piece.number for piece in pieces}


def test_a_device_that_raises_is_replaced_and_two_that_raise_fail_the_task(made: Any) -> None:
    bench = made("a b c", verify=2)
    bench.faults["a"] = "device-memory"
    piece = bench.dispatcher.add()
    bench.run()
    assert bench.delivered == {piece.number: "right"}
    bench.faults |= {"b": "kernel-failed", "c": "kernel-failed"}
    bench.outcomes.clear()
    bench.dispatcher.add()
    bench.run()
    outcome = only(bench)
    assert isinstance(outcome, Failed)
    assert outcome.message == "it raised"


def test_a_cancelled_piece_waits_for_nobody(made: Any) -> None:
    bench = made("a b", verify=2)
    bench.mute.add("b")
    piece = bench.dispatcher.add()
    bench.run()
    assert bench.dispatcher.cancel(piece)
    assert bench.dispatcher.idle
    bench.dispatcher.check()


def audited(made: Any, places: str, share: float = 1.0, task_s: float = 0.05) -> Bench:
    bench: Bench = made(places, verify=1, rng=random.Random(4))
    sampler = bench.dispatcher.arbiter.sampler
    assert sampler is not None
    sampler.set(share, task_s)
    return bench


def test_an_audit_delivers_at_once_and_compares_later(made: Any) -> None:
    bench = audited(made, "a b")
    piece = bench.dispatcher.add()
    bench.run()
    kinds = [type(outcome) for outcome in bench.outcomes]
    assert kinds == [Finished, Compared]
    first, second = bench.outcomes
    assert first.piece is piece
    panel = second.piece.panel
    assert panel is not None
    assert (panel.classes, panel.shadow) == ((0, 0), True)
    assert {answer.place for answer in panel.answers} == {"a/cpu0", "b/cpu0"}
    assert bench.dispatcher.tally.done == 1


def test_an_audit_that_differs_is_decided_by_a_third(made: Any) -> None:
    bench = audited(made, "a b c")
    bench.says["b"] = "wrong"
    for _ in range(6):
        bench.dispatcher.add()
    bench.run()
    compared = [each.piece.panel for each in bench.outcomes if isinstance(each, Compared)]
    assert len(compared) == 6
    split = [panel for panel in compared if panel is not None and len(set(panel.classes)) > 1]
    assert split
    assert all(len(panel.answers) == 3 for panel in split)


def test_a_job_does_not_wait_for_its_audits(made: Any) -> None:
    bench = audited(made, "a b")
    bench.mute.add("b")
    piece = bench.dispatcher.add()
    order = bench.dispatcher.orders(0.0)[0]
    lease = order.lease
    bench.take(bench.dispatcher.results(lease, [bench.tools.answer(piece)], 0.001), lease)
    assert bench.dispatcher.idle


def test_without_a_second_device_nothing_is_audited_and_that_is_counted(made: Any) -> None:
    bench = audited(made, "a")
    for _ in range(5):
        bench.dispatcher.add()
    bench.run()
    sampler = bench.dispatcher.arbiter.sampler
    assert sampler is not None
    assert (sampler.begun, sampler.skipped) == (0, 5)


def test_long_tasks_and_those_with_arrays_are_not_audited(made: Any) -> None:
    bench = audited(made, "a b", task_s=0.0005)
    bench.dispatcher.add()
    bench.run()
    assert len(bench.outcomes) == 1
    bench = audited(made, "a b")
    bench.dispatcher.add(input_bytes=100)
    bench.run()
    assert len(bench.outcomes) == 1


def test_the_share_of_tasks_that_is_drawn_is_the_one_that_was_set(made: Any) -> None:
    bench = audited(made, "a b", share=0.1)
    for _ in range(3_000):
        bench.dispatcher.add()
    bench.run()
    sampler = bench.dispatcher.arbiter.sampler
    assert sampler is not None
    assert 200 < sampler.begun + sampler.skipped < 400


def test_a_device_on_trial_gets_copies_only_and_every_small_task_until_it_has_some(
    made: Any,
) -> None:
    bench = audited(made, "a", share=0.001)
    bench.grant("tried", shadow=True)
    for _ in range(40):
        bench.dispatcher.add()
    bench.run()
    assert set(bench.dispatcher.share) == {"a/cpu0"}
    shadows = [each.piece.panel for each in bench.outcomes if isinstance(each, Compared)]
    assert len(shadows) > 3
    for panel in shadows:
        assert panel is not None
        assert {answer.place for answer in panel.answers} == {"a/cpu0", "tried/cpu0"}


def test_a_shadow_runner_does_no_work_by_itself(made: Any) -> None:
    bench = audited(made, "", share=1.0)
    bench.grant("tried", shadow=True)
    pieces: list[Piece] = [bench.dispatcher.add()]
    bench.run()
    assert not bench.outcomes
    assert not pieces[0].settled
