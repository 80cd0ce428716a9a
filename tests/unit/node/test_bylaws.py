"""Bylaws: a node that is behind its mesh's policy has time to catch up, and no more."""

from types import SimpleNamespace
from typing import Any

from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.ethics.owner import Pause
from qallow_agent.ethics.policy import Policy
from qallow_agent.mesh.wire.gate import GateReport, GateState
from qallow_agent.node.bylaws import BEHIND_S, Bylaws

OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
USUAL = Policy()


def at(seconds: float) -> Instant:
    return Instant(seconds, int((1_700_000_000 + seconds) * 1e9))


def advert(digest: bytes) -> Any:
    gate = GateReport(GateState.OPEN, 1000, 1000, 1000, policy=digest)
    return SimpleNamespace(devices=(SimpleNamespace(gate=gate),))


def bylaws(*told: bytes, policy: Policy = USUAL, pause: Pause | None = None) -> Bylaws:
    charter = SimpleNamespace(
        digest=OURS,
        pause=pause,
        consents=lambda _: policy.consent,
        quiet=lambda _: None,
        effective=lambda _: policy,
    )
    adverts = {NodeId(f"n{place}"): advert(digest) for place, digest in enumerate(told)}
    rooms: Any = SimpleNamespace(
        charter=charter,
        adverts=SimpleNamespace(snapshot=lambda: adverts),
        doorkeeper=SimpleNamespace(credential_of=lambda _: None),
    )
    me: Any = SimpleNamespace(node=NodeId("me"))
    return Bylaws(me, rooms)


def mark(of: Bylaws, signal: str, seconds: float = 0.0) -> Any:
    return next(each for each in of.items(at(seconds)) if each.signal == signal)


def test_a_node_alone_or_with_the_majority_is_in_accord() -> None:
    assert mark(bylaws(), "h3").value == 1_000_000
    assert mark(bylaws(OURS, OURS, THEIRS), "h3").value == 1_000_000


def test_a_tie_is_no_majority() -> None:
    assert mark(bylaws(THEIRS), "h3").value == 1_000_000


def test_a_node_that_is_behind_has_ten_minutes() -> None:
    behind = bylaws(THEIRS, THEIRS)
    assert mark(behind, "h3", 5.0).value == 970_000
    assert mark(behind, "h3", 4.0 + BEHIND_S).value == 970_000
    late = mark(behind, "h3", 6.0 + BEHIND_S)
    assert late.value == 0
    assert "2 of 3 hold policy 020202020202" in late.why


def test_a_pause_and_a_missing_consent_say_why() -> None:
    held = bylaws(policy=Policy(consent=False), pause=Pause(0, None, "a backup"))
    assert (mark(held, "c8").value, mark(held, "c8").why) == (0, "a backup")
    assert (mark(held, "c6").value, mark(held, "c6").why) == (0, "the owner's policy")
    free = bylaws()
    assert (mark(free, "c8").value, mark(free, "c6").value) == (1_000_000, 1_000_000)


def test_the_price_of_the_hour_is_that_of_the_schedule() -> None:
    prices = tuple(range(0, 24_000, 1_000))
    priced = bylaws(policy=Policy(prices=prices))
    hour = int(at(0.0).wall_s // 3_600) % 24
    assert mark(priced, "s5").value == prices[hour]


def test_data_zones_count_where_somebody_asked_for_them() -> None:
    assert bylaws().zone("public", at(0.0)) == ()
    (item,) = bylaws(policy=Policy(own_classes=("public",))).zone("private", at(0.0))
    assert (item.signal, item.value, item.why) == ("c7", 0, "private data in zone (none)")
