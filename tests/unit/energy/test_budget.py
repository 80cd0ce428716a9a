"""The energy budget: windows begin anew, a restart does not, and what is on disk may be broken."""

import msgspec
import pytest

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.machine import Instant, Persist
from qallow_agent.energy.budget import NAME, Budget

DAY_S = 86_400
MIDNIGHT_S = 20_000 * DAY_S


def at(seconds: float) -> Instant:
    return Instant(seconds, int((MIDNIGHT_S + seconds) * 1e9))


def test_without_a_budget_nothing_is_counted_or_kept() -> None:
    budget = Budget()
    budget.draw(1e9, at(0))
    assert budget.left_j(at(0)) is None
    assert budget.save(at(120)) == []


def test_what_is_drawn_is_missing_until_midnight() -> None:
    budget = Budget(1000.0, DAY_S)
    budget.draw(400.0, at(10))
    budget.draw(500.0, at(20))
    assert budget.left_j(at(DAY_S - 1)) == 100.0
    assert budget.left_j(at(DAY_S)) == 1000.0


def test_a_budget_is_never_less_than_spent() -> None:
    budget = Budget(1000.0, DAY_S)
    budget.draw(4000.0, at(10))
    assert budget.left_j(at(11)) == 0.0


def test_what_was_spent_is_kept_once_a_minute_and_found_again() -> None:
    budget = Budget(1000.0, DAY_S)
    budget.draw(300.0, at(10))
    assert budget.save(at(11)) == []
    (kept,) = budget.save(at(71))
    assert isinstance(kept, Persist)
    assert budget.save(at(72)) == []
    data = {NAME: kept.data or b""}
    assert Budget(1000.0, DAY_S, data).left_j(at(80)) == 700.0
    assert Budget(1000.0, 3600, data).left_j(at(80)) == 1000.0, "another length is another window"


def test_a_file_that_does_not_decode_says_so() -> None:
    with pytest.raises(StorageCorrupt, match="energy/budget does not decode"):
        Budget(1.0, DAY_S, {NAME: msgspec.msgpack.encode("?")})
