import pytest

from qallow_agent.base.errors import BadSignature, Malformed, StorageFull, UnknownKind
from qallow_agent.base.hlc import MAX_DRIFT_MS
from qallow_agent.base.ids import TRANSPORT, NodeId
from qallow_agent.base.machine import Instant, Lane, Reply, Send
from qallow_agent.base.message import Done, Failure, Message
from qallow_agent.base.notice import Notice
from qallow_agent.jobs.messages import LeaseRelease
from qallow_agent.mesh.io.port import KnockFailed, LinkEvent, Packet
from qallow_agent.mesh.wire.facts import LinkRefused
from qallow_agent.mesh.wire.kinds import Gossip, Pulse
from qallow_agent.node.post import instead, make_post

A, B = NodeId("a" * 26), NodeId("b" * 26)
NOW = Instant(1.0, 1_700_000_000_000_000_000)
RELEASE = LeaseRelease(("lease-1",))


def test_a_letter_arrives_as_it_was_written() -> None:
    assert make_post(B).open(A, make_post(A).seal(RELEASE, NOW), NOW) == RELEASE


def test_a_letter_brought_by_another_than_its_writer_is_refused() -> None:
    data = make_post(A).seal(RELEASE, NOW)
    with pytest.raises(BadSignature, match=f"signed {A} was brought by {B}"):
        make_post(A).open(B, data, NOW)


@pytest.mark.parametrize("message", [Gossip(()), Pulse(1, 2, 0.1)])
def test_gossip_and_pulses_may_come_by_datagram(message: Message) -> None:
    data = make_post(A).seal(message, NOW)
    assert make_post(B).open(A, data, NOW, Lane.DATAGRAM) == message


def test_leases_are_not_believed_by_datagram() -> None:
    data = make_post(A).seal(RELEASE, NOW)
    with pytest.raises(UnknownKind):
        make_post(B).open(A, data, NOW, Lane.DATAGRAM)


def test_what_members_say_is_not_heard_at_the_door() -> None:
    with pytest.raises(UnknownKind):
        make_post(B).open("@door/1", make_post(A).seal(RELEASE, NOW), NOW)


def test_receiving_moves_the_clock_past_the_senders() -> None:
    ahead = Instant(1.0, NOW.wall_ns + 5_000_000_000)
    post = make_post(B)
    post.open(A, make_post(A).seal(RELEASE, ahead), NOW)
    assert post.clock.stamp(NOW.wall_ns).wall_ms == ahead.wall_ns // 1_000_000


def test_a_clock_far_ahead_is_not_followed() -> None:
    ahead = Instant(1.0, NOW.wall_ns + (MAX_DRIFT_MS + 1) * 1_000_000)
    with pytest.raises(Malformed, match="ahead of this node's wall clock"):
        make_post(B).open(A, make_post(A).seal(RELEASE, ahead), NOW)


def test_arrivals_become_messages_with_their_senders() -> None:
    post = make_post(B)
    letter = Packet(A, make_post(A).seal(RELEASE, NOW), Lane.STREAM, NOW)
    assert post.read(letter) == (A, RELEASE)
    assert post.read(LinkEvent(A, "refused", NOW)) == (TRANSPORT, LinkRefused(A))
    assert post.read(LinkEvent(A, "up", NOW)) is None
    failed = post.read(KnockFailed("@trust/x", "nobody listens", NOW))
    assert failed == ("@trust/x", Failure("peer-lost", "nobody listens", "", retryable=True))


def test_junk_is_dropped_with_a_notice_that_names_the_sender() -> None:
    dropped = make_post(B).read(Packet(A, b"junk", Lane.STREAM, NOW))
    assert isinstance(dropped, Notice)
    assert (dropped.event, dropped.facts["node"]) == ("wire.dropped", A)


def test_local_words_never_leave() -> None:
    with pytest.raises(Exception, match="not spoken"):
        make_post(A).seal(Done(), NOW)


def test_whoever_asked_hears_that_the_disk_failed_and_nobody_else_hears_anything() -> None:
    error = StorageFull("cannot write", hint="free space")
    told = Failure("storage-full", "cannot write", "free space", retryable=True)
    assert instead(Reply("@control/1/2", Done()), error) == Reply("@control/1/2", told)
    assert instead(Reply("@door/ab", Done()), error) == Reply("@door/ab", told)
    assert instead(Reply("@runner/r", Done()), error) is None
    assert instead(Send(A, RELEASE), error) is None
