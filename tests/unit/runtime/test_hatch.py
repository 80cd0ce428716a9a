import os
import socket
from collections.abc import Iterator

import pytest
from msgspec import structs

from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.parcels import Hatch
from qallow_agent.runtime.hatch import Doorstep, Visit, machine_mark
from qallow_agent.runtime.memory import make_segment

KEY = b"k" * 32
LEASE = LeaseId("lease-a")


@pytest.fixture
def doorstep() -> Iterator[Doorstep]:
    made = Doorstep(KEY)
    yield made
    made.close()


def invited(doorstep: Doorstep, guest: bytes = b"guest") -> Hatch:
    return doorstep.invite(guest, LEASE, machine_mark(KEY), os.geteuid())


def test_a_guest_that_was_told_is_let_in_and_hands_memory_over(doorstep: Doorstep) -> None:
    visit = Visit(invited(doorstep))
    assert not visit.confirmed()
    assert doorstep.admit(b"guest")
    assert visit.confirmed()
    segment = make_segment(4096)
    visit.hand_over(b"one", segment)
    visit.hand_over(b"two", segment)
    os.close(segment)
    found = doorstep.collect(b"guest")
    assert [name for name, _ in found] == [b"one", b"two"]
    assert [os.fstat(descriptor).st_size for _, descriptor in found] == [4096, 4096]
    for _, descriptor in found:
        os.close(descriptor)
    assert doorstep.collect(b"guest") == []
    assert doorstep.collect(b"another") == []
    visit.close()


def test_whoever_is_on_another_machine_is_told_nothing(doorstep: Doorstep) -> None:
    for mark in (b"", b"x" * 16, machine_mark(b"another runner's key")):
        assert doorstep.invite(b"guest", LEASE, mark, os.geteuid()) == Hatch(LEASE)


def test_a_wrong_password_or_user_stays_outside(doorstep: Doorstep) -> None:
    hatch = invited(doorstep)
    wrong = Visit(structs.replace(hatch, password=b"x" * 32))
    assert not doorstep.admit(b"guest")
    doorstep.invite(b"guest", LEASE, machine_mark(KEY), os.geteuid() + 1)
    stale = Visit(hatch)
    assert not doorstep.admit(b"guest")
    assert not wrong.confirmed()
    assert not stale.confirmed()
    wrong.close()
    stale.close()


def test_a_password_serves_once(doorstep: Doorstep) -> None:
    hatch = invited(doorstep)
    first = Visit(hatch)
    assert doorstep.admit(b"guest")
    second = Visit(hatch)
    doorstep.admit(b"guest")
    assert first.confirmed()
    assert not second.confirmed()
    first.close()
    second.close()


def test_one_guest_cannot_come_as_another(doorstep: Doorstep) -> None:
    hatch = invited(doorstep, b"guest")
    invited(doorstep, b"victim")
    visit = Visit(hatch)
    assert not doorstep.admit(b"victim")
    assert doorstep.admit(b"guest")
    segment = make_segment(4096)
    visit.hand_over(b"x", segment)
    os.close(segment)
    assert doorstep.collect(b"victim") == []
    visit.close()


def test_somebody_in_the_runners_place_learns_that_it_is_not_believed() -> None:
    impostor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    address = b"\0qallow-test-" + os.urandom(8).hex().encode()
    impostor.bind(address)
    impostor.listen(1)
    hatch = Hatch(LEASE, address, b"p" * 32, b"c" * 32, os.geteuid())
    visit = Visit(hatch)
    caller, _ = impostor.accept()
    caller.send(b"p" * 32)
    assert not visit.confirmed()
    with pytest.raises(PeerError):
        Visit(structs.replace(hatch, uid=os.geteuid() + 1))
    visit.close()
    caller.close()
    impostor.close()
    with pytest.raises(OSError, match="refused"):
        Visit(hatch)


def test_a_submitter_goes_to_no_other_socket_than_a_hatch(doorstep: Doorstep) -> None:
    hatch = invited(doorstep)
    for changed in ({"address": b"\0another"}, {"address": b"/run/x"}, {"password": b"hello"}):
        with pytest.raises(PeerError):
            Visit(structs.replace(hatch, **changed))


def test_strangers_that_knock_do_not_keep_a_guest_out(doorstep: Doorstep) -> None:
    hatch = invited(doorstep)
    strangers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
    for stranger in strangers:
        stranger.connect(hatch.address)
    visit = Visit(hatch)
    assert doorstep.admit(b"guest")
    assert visit.confirmed()
    for stranger in strangers:
        stranger.close()
    visit.close()
