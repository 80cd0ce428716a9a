"""The story of a job: what is kept, and that it is bounded."""

import msgspec

from qallow_agent.jobs.story import Chronicle, Judged, abridged


def judged(count: int, chosen: int = 0) -> tuple[Judged, ...]:
    return tuple(
        Judged(f"box{number}/cpu0", 1.0, "why", slots=int(number == chosen))
        for number in range(count)
    )


def test_what_is_decided_again_and_again_is_told_once() -> None:
    chronicle = Chronicle(1000.0)
    for second in range(5):
        chronicle.decided(float(second), 2, judged(3), reason="all are busy")
    (decision,) = chronicle.story().decisions
    assert (decision.times, decision.at_s) == (5, 1004.0)


def test_the_first_decision_and_the_last_ones_are_kept() -> None:
    chronicle = Chronicle(0.0)
    for wanted in range(10):
        chronicle.decided(float(wanted), wanted, judged(2))
    assert [each.wanted for each in chronicle.story().decisions] == [0, 7, 8, 9]


def test_only_the_newest_passages_are_kept_and_reasons_are_cut_short() -> None:
    chronicle = Chronicle(0.0)
    for second in range(100):
        chronicle.note(float(second), "refused", "box/cpu0", "x" * 10_000)
    passages = chronicle.story().passages
    assert (len(passages), passages[-1].at_s, len(passages[0].why)) == (32, 99.0, 300)


def test_the_archive_keeps_what_was_chosen_in_a_few_kilobytes() -> None:
    chronicle = Chronicle(0.0)
    for second in range(100):
        chronicle.decided(float(second), second, judged(32))
        chronicle.note(float(second), "granted", "n" * 26 + "/cpu0")
    kept = abridged(chronicle.story())
    assert [len(each.judged) for each in kept.decisions] == [8, 8]
    assert kept.decisions[-1].more == 24
    assert kept.decisions[-1].judged[0].slots == 1
    assert len(msgspec.msgpack.encode(kept)) < 4_096
