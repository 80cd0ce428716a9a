"""The gate: the ladder, its memory, and what cannot be measured."""

import pytest

from qallow_agent.ethics.examples import START_MS, comfortable
from qallow_agent.ethics.gate import Admission, Gate, Running, Verdict
from qallow_agent.ethics.policy import preset
from qallow_agent.ethics.score import Score, score

ADMIT, DEFER, REFUSE = Admission
NORMAL, THROTTLE, MOVE, STOP = Running


def worth(e: int) -> Score:
    """Return a score that came to some thousandths of E, everything measured."""
    return Score(max(0, e - 2000), min(1000, e), min(1000, max(0, e - 1000)), ("", "", ""), (), ())


def stopped(signal: str, value: float) -> Score:
    return score(comfortable({signal: value}), preset("desktop"), START_MS)


@pytest.mark.parametrize(
    ("e", "admission", "running"),
    [
        (3000, ADMIT, NORMAL), (2900, ADMIT, NORMAL), (2899, DEFER, NORMAL),
        (2700, DEFER, NORMAL), (2699, REFUSE, THROTTLE), (2400, REFUSE, THROTTLE),
        (2399, REFUSE, MOVE), (0, REFUSE, MOVE),
    ],
)  # fmt: skip
def test_the_ladder_is_that_of_the_table(e: int, admission: Admission, running: Running) -> None:
    found = Gate().judge("cpu0", worth(e), 0.0)
    assert (found.admission, found.running, found.stop_s) == (admission, running, None)


@pytest.mark.parametrize(
    ("e", "running"), [(2500, NORMAL), (2300, NORMAL), (2299, THROTTLE), (1999, MOVE)]
)
def test_the_lower_rungs_move_with_the_threshold(e: int, running: Running) -> None:
    assert Gate(2500).judge("cpu0", worth(e), 0.0).running is running


@pytest.mark.parametrize(
    ("signal", "value", "within_s"),
    [("c8", 0, 1.0), ("c6", 0, 1.0), ("c7", 0, 1.0), ("s2.shutdown", 1, 5.0), ("h3", 0, 5.0),
     ("h5", 0, 5.0)],
)  # fmt: skip
def test_a_stop_refuses_and_says_how_soon_work_stops(
    signal: str, value: int, within_s: float
) -> None:
    found = Gate().judge("cpu0", stopped(signal, value), 0.0)
    assert (found.admission, found.running, found.stop_s) == (REFUSE, STOP, within_s)


def test_of_two_stops_the_sooner_one_counts() -> None:
    both = score(comfortable({"c8": 0, "s2.shutdown": 1}), preset("desktop"), START_MS)
    assert Gate().judge("cpu0", both, 0.0).stop_s == 1.0


def test_a_closed_place_opens_at_thirty_above_the_threshold_held_for_five_seconds() -> None:
    gate = Gate()
    gate.judge("cpu0", worth(2899), 0.0)
    assert gate.judge("cpu0", worth(2900), 1.0) == Verdict(DEFER, NORMAL, 2930)
    assert gate.judge("cpu0", worth(2929), 100.0) == Verdict(DEFER, NORMAL, 2930)
    assert gate.judge("cpu0", worth(2930), 101.0) == Verdict(DEFER, NORMAL, 2930, 5.0)
    assert gate.judge("cpu0", worth(2930), 105.5) == Verdict(DEFER, NORMAL, 2930, 0.5)
    assert gate.judge("cpu0", worth(2930), 106.0) == Verdict(ADMIT, NORMAL, 2900, 0.0)
    assert gate.judge("cpu0", worth(2900), 107.0).admission is ADMIT


def test_what_falls_short_in_between_begins_again() -> None:
    gate = Gate()
    for e, at_s in ((2000, 0), (2950, 1), (2929, 5), (2950, 7), (2950, 11)):
        assert gate.judge("cpu0", worth(e), at_s).admission is not ADMIT
    assert gate.judge("cpu0", worth(2950), 12).admission is ADMIT


def test_a_stop_closes_a_place_like_a_low_score() -> None:
    gate = Gate()
    gate.judge("cpu0", stopped("c8", 0), 0.0)
    assert gate.judge("cpu0", worth(3000), 1.0).admission is DEFER
    assert gate.judge("cpu0", worth(3000), 6.0).admission is ADMIT


def test_places_do_not_share_their_memory_and_may_be_forgotten() -> None:
    gate = Gate()
    gate.judge("cpu0", worth(2000), 0.0)
    assert gate.judge("gpu0", worth(2900), 0.0).admission is ADMIT
    gate.forget("cpu0")
    assert gate.judge("cpu0", worth(2900), 0.0).admission is ADMIT


def test_looking_at_one_job_closes_nothing_and_opens_nothing() -> None:
    gate = Gate()
    assert gate.look("cpu0", stopped("c7", 0), 0.0).running is STOP
    assert gate.judge("cpu0", worth(2900), 1.0).admission is ADMIT
    gate.judge("cpu0", worth(2000), 2.0)
    assert gate.look("cpu0", worth(3000), 3.0) == Verdict(DEFER, NORMAL, 2930, 5.0)
    assert gate.look("cpu0", worth(3000), 9.0).admission is DEFER


def test_a_place_that_measures_too_little_to_reach_the_margin_opens_all_the_same() -> None:
    blind = ("s1", "s2", "s.power", "s.temperature", "c1.cpu", "c1.io", "c1.memory", "c5")
    gate, policy = Gate(), preset("desktop")
    well = score(comfortable(without=blind), policy, START_MS)
    busy = score(comfortable({"c3": 0.4}, without=blind), policy, START_MS)
    assert (well.e, gate.judge("cpu0", busy, 0.0).admission) == (2900, REFUSE)
    assert gate.judge("cpu0", well, 1.0) == Verdict(DEFER, NORMAL, 2900, 5.0)
    assert gate.judge("cpu0", well, 6.0).admission is ADMIT


def test_a_place_that_could_never_reach_the_threshold_stays_closed() -> None:
    gate = Gate(2960)
    unheard = score(comfortable({"h.fresh": 0}), preset("desktop"), START_MS)
    assert gate.judge("cpu0", unheard, 0.0).needed == 2960
    assert gate.judge("cpu0", unheard, 100.0).admission is DEFER
