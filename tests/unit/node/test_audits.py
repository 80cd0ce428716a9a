"""The audits of a node: who is told of what, who gets no work, and what survives a restart."""

import random
from typing import Any

import pytest

from qallow_agent.base.errors import InvariantBroken, StorageCorrupt
from qallow_agent.base.ids import JobId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Effect, Instant, Persist, Send
from qallow_agent.base.message import Done, Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.local import AuditsSeen
from qallow_agent.jobs.opinions import Comparison, Consent, Dissent
from qallow_agent.mesh.adverts.book import AdvertBook
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.node.audits import Audits

KEY = SigningKey(b"\x05" * 32)
ME = KEY.id
TRIED, ONE, TWO = f"{ME}/cpu0", "one/cpu0", "two/gpu0"


def at(seconds: float) -> Instant:
    return Instant(seconds, int((1_800_000_000 + seconds) * 1e9))


class Hall:
    """Audits of a node whose own device is on trial."""

    def __init__(self, **kept: bytes) -> None:
        adverts = AdvertBook(
            me=ME, identity=KEY, epoch=1, release="0", settings=AdvertSettings(),
            rng=random.Random(1),
        )  # fmt: skip
        state = DeviceState.QUARANTINED
        device = DeviceAdvert("cpu0", "cpu", "m", state, 1, 0, 0, trial=3)
        adverts.publish((device,), (), {}, at(0.0))
        self.audits = Audits({name.replace("_", "/"): data for name, data in kept.items()}, adverts)

    def see(self, *comparisons: Comparison, seconds: float = 1.0) -> list[Effect]:
        seen = AuditsSeen(JobId("job-1"), "harmonic", comparisons)
        effects = self.audits.receive(ME, seen, at(seconds))
        self.audits.check()
        return effects


def split(*classes: int, times: int = 1) -> Comparison:
    places = (TRIED, ONE, TWO)[: len(classes)]
    digests = tuple(bytes([number]) for number in classes)
    return Comparison(places, classes, times, b"task", digests)


def said(effects: list[Effect], kind: type[Message]) -> list[tuple[str, Any]]:
    return [
        (each.to, each.message)
        for each in effects
        if isinstance(each, Send) and isinstance(each.message, kind)
    ]


def test_the_minority_is_told_and_of_what() -> None:
    ((node, dissent),) = said(Hall().see(split(0, 0, 1)), Dissent)
    assert node == "two"
    assert dissent == Dissent(JobId("job-1"), "harmonic", "gpu0", 3, 2, b"task", b"\x01", b"\x00")


def test_without_a_majority_everybody_is_told_that_nobody_agreed() -> None:
    told = said(Hall().see(split(0, 1)), Dissent)
    assert [node for node, _ in told] == [ME, "one"]
    assert {(each.answers, each.alike, each.others) for _, each in told} == {(2, 0, b"")}


def test_only_devices_on_trial_are_told_that_they_agreed() -> None:
    copies = Comparison((TRIED, ONE), (0, 0), 2, shadow=True)
    assert said(Hall().see(copies), Consent) == [(ME, Consent("cpu0", 2))]
    verified = Comparison((TRIED, ONE), (0, 0), 2)
    assert said(Hall().see(verified), Consent) == []


def test_a_device_that_dissents_too_often_gets_no_work_until_it_agrees_again() -> None:
    hall = Hall()
    hall.see(split(0, 0, 1))
    assert hall.audits.against(TWO) is None, "one dissent is no catastrophe"
    effects = hall.see(split(0, 0, 1, times=2))
    assert [each.event for each in effects if isinstance(each, Notice)] == ["audit.distrusted"]
    against = hall.audits.against(TWO)
    assert against is not None
    assert "3 of 3 audits, agreement 0.870" in against.why
    assert against.fix
    assert hall.audits.complaints() == {TWO: against}
    hall.see(split(0, 0, 0, times=20))
    assert hall.audits.against(TWO) is not None, "above the bad end it must be well above"
    effects = hall.see(split(0, 0, 0, times=20))
    assert [each.event for each in effects if isinstance(each, Notice)] == ["audit.trusted"]
    assert hall.audits.against(TWO) is None


def test_of_many_splits_in_one_report_benches_hear_a_few() -> None:
    assert len(said(Hall().see(*[split(0, 0, 1)] * 200), Dissent)) == 16


def test_a_place_that_the_book_forgot_is_no_ones_enemy() -> None:
    hall = Hall()
    hall.see(split(0, 0, 1, times=3))
    for number in range(300):
        hall.see(Comparison((f"n{number}/cpu0", f"m{number}/cpu0"), (0, 0)))
    assert hall.audits.against(TWO) is None


def test_the_book_is_kept_now_and_then_and_only_when_there_is_news() -> None:
    hall = Hall()
    assert hall.audits.next_deadline() == 0.0
    assert hall.audits.tick(at(0.0)) == []
    assert hall.audits.next_deadline() is None, "an idle node is not woken"
    hall.see(split(0, 0, 1, times=3))
    assert hall.audits.next_deadline() == 61.0
    assert hall.audits.tick(at(30.0)) == []
    (kept,) = hall.audits.tick(at(61.0))
    assert isinstance(kept, Persist)
    assert kept.name == "ethics/audits"
    assert hall.audits.next_deadline() is None
    assert kept.data is not None
    again = Hall(ethics_audits=kept.data)
    again.audits.tick(at(62.0))
    assert again.audits.against(TWO) is not None


def test_a_book_that_does_not_decode_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(StorageCorrupt):
        Hall(ethics_audits=b"nonsense")


def test_status_counts_the_audits_as_long_as_they_are_not_enough() -> None:
    hall = Hall()
    assert hall.audits.document()["mesh_entropy"] is None
    hall.see(split(0, 0, times=999))
    assert "not enough evidence (999 of 1,000 audits)" in str(hall.audits.document()["text"])
    hall.see(split(0, 0))
    assert hall.audits.document()["enough"] is True


def test_an_own_device_is_not_judged_while_it_is_tried_and_begins_anew_afterwards() -> None:
    hall = Hall()
    assert hall.audits.own_agreement(TRIED, at(0.0), tried=False) is None, "never audited"
    hall.see(split(1, 0, 0))
    assert hall.audits.own_agreement(TRIED, at(1.0), tried=False) == 952_380
    assert hall.audits.own_agreement(TRIED, at(3.0), tried=True) is None
    assert hall.audits.own_agreement(TRIED, at(4.0), tried=False) is None
    hall.see(split(0, 0, 0))
    assert hall.audits.own_agreement(TRIED, at(5.0), tried=False) == 1_000_000


def test_anything_else_is_our_own_mistake() -> None:
    with pytest.raises(InvariantBroken):
        Hall().audits.receive(ME, Done(), at(0.0))
