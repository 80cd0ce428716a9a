"""Thrift: whatever a desk claims of its job, there is evidence or none, and never a failure."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.ids import JobId, NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Reading
from qallow_agent.energy.budget import Budget
from qallow_agent.ethics.evidence import Evidence, Item
from qallow_agent.ethics.policy import Policy
from qallow_agent.jobs.messages import LeaseRequest
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.node.thrift import MOST_RISE_C, Thrift, warmer

NOW = Instant(100.0, 1_700_000_000_000_000_000)
NOW_MS = 1_700_000_000_000
NOTHING = Evidence("me", "cpu0", "", NOW_MS, ())
BOARD = DeviceAdvert("cpu0", "cpu", "a board", DeviceState.OK, 2, 0, 100)


def thrift(joules: float = 0.5, budget_j: float = 1000.0) -> Thrift:
    """Return the thrift of a node alone, whose slots do ten operations a second."""
    state = SimpleNamespace(name="cpu0", rates={"k": 10.0})
    rooms: Any = SimpleNamespace(
        meters=SimpleNamespace(
            rates=lambda _: {"k": joules} if joules else {},
            idle_w=lambda _: 5.0,
            budget=Budget(budget_j),
        ),
        bench=SimpleNamespace(device_states=lambda: [state]),
        charter=SimpleNamespace(effective=lambda _: Policy()),
        adverts=SimpleNamespace(snapshot=dict),
        membership=SimpleNamespace(alive=tuple, members=list),
    )
    me: Any = SimpleNamespace(node=NodeId("me"))
    return Thrift(me, rooms)


def wish(**claims: Any) -> LeaseRequest:
    usual: dict[str, Any] = {"slots": 1, "memory_bytes": 0}
    return LeaseRequest(JobId("j"), "k", "h", "cpu0", submitter_key=b"", **(usual | claims))


def found(own: Thrift, **claims: Any) -> dict[str, Item]:
    items = own.of(wish(**claims), BOARD, NOTHING, NOW)
    return {each.signal: each for each in items}


def test_a_device_that_is_alone_is_its_own_best() -> None:
    assert found(thrift())["s3"].value == 1_000_000


def test_joules_that_nobody_counted_are_listed_as_unknown() -> None:
    items = found(thrift(joules=0.0), ops=10.0)
    assert [items[name].provenance for name in ("s3", "s4")] == ["unknown", "unknown"]
    assert "joules of k on cpu0" in items["s3"].why


def test_a_budget_is_held_against_the_share_of_the_job_that_is_asked_here() -> None:
    assert found(thrift(), ops=1000.0, slots=1, lacked=1)["s4"].value == 2_000_000
    assert found(thrift(), ops=1000.0, slots=1, lacked=4)["s4"].value == 8_000_000


def test_a_job_that_tells_no_length_is_held_against_a_minute() -> None:
    item = found(thrift())["s4"]
    assert item.value == round(1000 / 300 * 1_000_000)
    assert "a minute of a job that tells no length" in item.why


def test_without_a_budget_there_is_no_evidence_of_one() -> None:
    own = thrift(budget_j=0.0)
    assert "s4" not in found(own)
    assert own.standing(BOARD, NOW) == ()


def test_between_requests_a_budget_is_held_against_a_minute_of_what_is_drawn() -> None:
    (idle,) = thrift(budget_j=600.0).standing(BOARD, NOW)
    assert idle.value == 2_000_000
    busy = DeviceAdvert("cpu0", "cpu", "a board", DeviceState.OK, 2, 0, 100,
                        readings={"power": Reading(20.0, "watts", "rapl")})  # fmt: skip
    (item,) = thrift(budget_j=600.0).standing(busy, NOW)
    assert item.value == 500_000


@pytest.mark.parametrize(
    "claims",
    [
        {"ops": math.nan}, {"ops": math.inf}, {"ops": -1.0}, {"ops": 1e308, "slots": 1 << 60},
        {"slots": 0}, {"slots": -3, "ops": 5.0}, {"lacked": -(1 << 60)}, {"lacked": 1 << 60},
        {"places": 0}, {"places": -1}, {"places": 1 << 60},
    ],
)  # fmt: skip
def test_no_claim_makes_judging_fail(claims: dict[str, Any]) -> None:
    for budget_j in (0.0, 1000.0):
        items = found(thrift(budget_j=budget_j), **claims)
        assert items["s3"].value == 1_000_000


def margins(*celsius: float) -> Any:
    """Return a trail of thermal margins, one a second."""
    return [
        Evidence("me", "cpu0", "", NOW_MS + 1000 * place, (
            Item("s2", round(each * 1e6), "celsius", NOW_MS + 1000 * place, "nvml"),))
        for place, each in enumerate(celsius)
    ]  # fmt: skip


def test_what_heats_up_is_taken_to_go_on_so() -> None:
    (item,) = warmer(margins(20, 19, 16))
    assert (item.value, item.provenance) == (12_000_000, "estimated")


def test_no_job_is_expected_to_heat_by_more_than_a_bound() -> None:
    (item,) = warmer(margins(60, 30))
    assert item.value == round((30 - MOST_RISE_C) * 1e6)


@pytest.mark.parametrize("celsius", [(20, 20), (10, 20), (15,)])
def test_what_is_steady_or_cools_is_judged_as_it_is(celsius: tuple[float, ...]) -> None:
    assert warmer(margins(*celsius)) == ()


@pytest.mark.parametrize(("left", "told"), [(0.5, 300_000), (0.1, 0), (1.0, None)])
def test_memory_is_held_against_what_is_left_where_others_have_some(
    left: float, told: int | None
) -> None:
    item = Item("c4.memory", round(left * 1e6), "ratio", NOW_MS, "nvml")
    known = Evidence("me", "gpu0", "", NOW_MS, (item,))
    items = thrift().of(wish(memory_bytes=10, slots=2), BOARD, known, NOW)
    found = {each.signal: each.value for each in items}
    assert found.get("c4.memory") == told
