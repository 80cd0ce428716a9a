from dataclasses import replace
from typing import Any

import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import NodeId, is_local
from qallow_agent.base.machine import Lane
from qallow_agent.mesh.io.settings import TransportSettings


@pytest.fixture(name="settings")
def _settings(rig: Any) -> TransportSettings:
    settings: TransportSettings = rig.settings
    return settings


def test_a_message_arrives_with_its_senders_identity(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    assert a.transport.send(b.node, b"hello", Lane.STREAM)
    rig.wait(b.packets)
    packet = b.packets()[0]
    assert (packet.sender, packet.data, packet.lane) == (a.node, b"hello", Lane.STREAM)
    assert packet.received.mono_s > 0


def test_messages_arrive_in_order_and_once(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    sent = [b"%d" % number for number in range(200)]
    assert all(a.transport.send(b.node, data, Lane.STREAM) for data in sent)
    rig.wait(lambda: len(b.packets()) >= len(sent))
    assert [packet.data for packet in b.packets()] == sent


def test_a_message_sent_right_after_admission_waits_for_the_link(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    b.transport.admit(a.node, a.curve.public, a.transport.contact)
    a.transport.admit(b.node, b.curve.public, b.transport.contact)
    assert a.transport.send(b.node, b"early", Lane.STREAM)
    rig.wait(b.packets)
    assert b.packets()[0].data == b"early"


def test_a_peer_that_admits_late_is_linked_all_the_same(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.admit(b.node, b.curve.public, b.transport.contact)
    rig.settle(0.1)
    assert not a.events("up")
    b.transport.admit(a.node, a.curve.public, a.transport.contact)
    rig.wait(lambda: a.events("up") and b.events("up"))


def test_a_datagram_arrives_sealed_by_its_sender(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    assert a.transport.send(b.node, b"ping", Lane.DATAGRAM)
    rig.wait(b.packets)
    packet = b.packets()[0]
    assert (packet.sender, packet.data, packet.lane) == (a.node, b"ping", Lane.DATAGRAM)
    assert b.transport.send(a.node, b"pong", Lane.DATAGRAM)
    rig.wait(a.packets)


def test_a_datagram_that_does_not_fit_travels_by_stream(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    assert a.transport.send(b.node, b"x" * 5000, Lane.DATAGRAM)
    rig.wait(b.packets)
    assert b.packets()[0].lane is Lane.STREAM


def test_a_datagram_to_a_peer_without_that_lane_travels_by_stream(
    rig: Any, settings: TransportSettings
) -> None:
    a, b = rig.start("a"), rig.start("b", replace(settings, datagrams=False))
    assert b.transport.contact.datagram == 0
    rig.befriend(a, b)
    assert a.transport.send(b.node, b"there", Lane.DATAGRAM)
    assert b.transport.send(a.node, b"back", Lane.DATAGRAM)
    rig.wait(lambda: a.packets() and b.packets())
    assert {a.packets()[0].lane, b.packets()[0].lane} == {Lane.STREAM}


def test_a_stranger_who_knows_the_servers_key_is_refused(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.admit(b.node, b.curve.public, b.transport.contact)
    a.transport.send(b.node, b"let me in", Lane.STREAM)
    rig.settle(0.3)
    assert not b.packets()
    assert not a.events("up")


def test_a_peer_at_the_right_place_with_another_key_is_no_link(rig: Any) -> None:
    a, b, c = rig.start("a"), rig.start("b"), rig.start("c")
    b.transport.admit(a.node, a.curve.public, a.transport.contact)
    a.transport.admit(b.node, c.curve.public, b.transport.contact)
    rig.settle(0.3)
    assert not a.events("up")


def test_an_expelled_peer_is_no_longer_heard(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    b.transport.expel(a.node, ban=False)
    a.transport.send(b.node, b"still me", Lane.STREAM)
    rig.settle()
    assert not b.packets()
    assert not b.transport.send(a.node, b"bye", Lane.STREAM)


def test_an_expelled_peer_may_be_admitted_again(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    b.transport.expel(a.node, ban=False)
    rig.settle(0.05)
    b.transport.admit(a.node, a.curve.public, a.transport.contact)
    rig.wait(lambda: len(b.events("up")) == 2)


def test_a_banned_peer_is_refused_on_every_lane_for_ever(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    b.transport.expel(a.node, ban=True)
    b.transport.admit(a.node, a.curve.public, a.transport.contact)
    b.transport.admit(NodeId("x" * 26), a.curve.public, a.transport.contact)
    a.transport.send(b.node, b"stream", Lane.STREAM)
    a.transport.send(b.node, b"datagram", Lane.DATAGRAM)
    rig.settle()
    assert not b.packets()
    assert b.transport.counters()["admit.refused"] == 2


def test_a_replaced_key_speaks_no_longer(rig: Any) -> None:
    a, b, renewed = rig.start("a"), rig.start("b"), rig.start("renewed")
    rig.befriend(a, b)
    b.transport.admit(a.node, renewed.curve.public, renewed.transport.contact)
    a.transport.send(b.node, b"old key", Lane.STREAM)
    rig.settle()
    assert not b.packets()


def test_a_key_belongs_to_one_node_only(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    b.transport.admit(NodeId("thief"), a.curve.public, a.transport.contact)
    assert b.transport.counters()["admit.refused"] == 1
    a.transport.send(b.node, b"me", Lane.STREAM)
    rig.wait(b.packets)
    assert b.packets()[0].sender == a.node


def test_nothing_is_sent_to_a_node_that_was_not_admitted(rig: Any) -> None:
    a = rig.start("a")
    assert not a.transport.send(NodeId("nobody"), b"x", Lane.STREAM)
    assert not a.transport.send(NodeId("nobody"), b"x", Lane.DATAGRAM)


def test_an_oversized_message_is_not_sent(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    limit = a.settings.message_limit_bytes
    assert not a.transport.send(b.node, b"x" * (limit + 1), Lane.STREAM)
    assert a.transport.send(b.node, b"x" * limit, Lane.STREAM)
    rig.wait(b.packets)
    assert len(b.packets()[0].data) == limit


def test_an_oversized_message_is_dropped_by_its_receiver(
    rig: Any, settings: TransportSettings
) -> None:
    generous = replace(settings, message_limit_bytes=200_000)
    a, b = rig.start("a", generous), rig.start("b")
    rig.befriend(a, b)
    a.transport.send(b.node, b"x" * 150_000, Lane.STREAM)
    rig.settle()
    assert not b.packets()
    rig.wait(lambda: a.transport.send(b.node, b"fits", Lane.STREAM) and b.packets())
    assert {packet.data for packet in b.packets()} == {b"fits"}


def test_a_knock_is_heard_at_the_door_and_answered(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.knock(b.transport.contact, b.curve.public, b"open", "@trust/b", 5.0)
    rig.wait(b.packets)
    knock = b.packets()[0]
    assert knock.sender.startswith("@door/")
    assert knock.data == b"open"
    assert b.transport.reply(knock.sender, b"welcome")
    rig.wait(a.packets)
    answer = a.packets()[0]
    assert (answer.sender, answer.data) == ("@trust/b", b"welcome")
    assert not a.failures()


def test_two_knocks_at_once_get_their_own_answers(rig: Any) -> None:
    a, b, c = rig.start("a"), rig.start("b"), rig.start("c")
    a.transport.knock(c.transport.contact, c.curve.public, b"from a", "@trust/1", 5.0)
    b.transport.knock(c.transport.contact, c.curve.public, b"from b", "@trust/2", 5.0)
    rig.wait(lambda: len(c.packets()) == 2)
    for packet in c.packets():
        assert is_local(packet.sender)
        c.transport.reply(packet.sender, packet.data)
    rig.wait(lambda: a.packets() and b.packets())
    assert a.packets()[0].data == b"from a"
    assert b.packets()[0].data == b"from b"


def test_a_knock_without_an_answer_fails_in_time(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.knock(b.transport.contact, b.curve.public, b"anybody?", "@trust/b", 0.3)
    rig.wait(a.failures)
    assert a.failures()[0].reply_as == "@trust/b"
    assert "no answer" in a.failures()[0].reason


def test_a_late_answer_is_not_delivered(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.knock(b.transport.contact, b.curve.public, b"anybody?", "@trust/b", 0.2)
    rig.wait(lambda: a.failures() and b.packets())
    b.transport.reply(b.packets()[0].sender, b"too late")
    rig.settle(0.1)
    assert not a.packets()


def test_a_knock_at_a_closed_door_fails_at_once(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    contact = b.transport.contact
    rig.stop(b)
    a.transport.knock(contact, b.curve.public, b"hello?", "@trust/b", 3600.0)
    rig.wait(a.failures)
    assert "nobody listens" in a.failures()[0].reason


def test_a_knock_at_a_door_with_another_key_fails(rig: Any) -> None:
    a, b, c = rig.start("a"), rig.start("b"), rig.start("c")
    a.transport.knock(b.transport.contact, c.curve.public, b"hello?", "@trust/c", 3600.0)
    rig.wait(a.failures)
    assert "key" in a.failures()[0].reason
    assert not b.packets()


def test_an_answer_to_nobody_is_refused(rig: Any) -> None:
    a = rig.start("a")
    assert not a.transport.reply("@door/00ff", b"hello?")


def test_a_link_comes_up_breaks_and_comes_back_after_a_restart(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    rig.stop(b)
    rig.wait(lambda: a.events("down"))
    again = rig.restart(b)
    again.transport.admit(a.node, a.curve.public, a.transport.contact)
    rig.wait(lambda: len(a.events("up")) == 2)
    assert a.transport.send(b.node, b"welcome back", Lane.STREAM)
    assert again.transport.send(a.node, b"thanks", Lane.STREAM)
    rig.wait(lambda: again.packets() and a.packets())
    assert a.packets()[0].sender == b.node


def test_a_peer_that_moves_is_followed(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.befriend(a, b)
    rig.stop(b)
    moved = rig.start("b", epoch=2)
    moved.transport.admit(a.node, a.curve.public, a.transport.contact)
    a.transport.admit(b.node, b.curve.public, moved.transport.contact)
    rig.wait(lambda: a.events("up")[1:])
    a.transport.send(b.node, b"stream", Lane.STREAM)
    a.transport.send(b.node, b"datagram", Lane.DATAGRAM)
    rig.wait(lambda: len(moved.packets()) == 2)


def test_sends_to_a_dead_peer_fail_once_the_patience_is_over(
    rig: Any, settings: TransportSettings
) -> None:
    a, b = rig.start("a", replace(settings, waiting_s=0.1)), rig.start("b")
    rig.befriend(a, b)
    rig.stop(b)
    rig.wait(lambda: not a.transport.send(b.node, b"x", Lane.STREAM))


def test_only_so_many_messages_wait_for_a_link(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    a.transport.admit(b.node, b.curve.public, b.transport.contact)
    taken = [a.transport.send(b.node, b"x", Lane.STREAM) for _ in range(200)]
    assert taken.count(True) == a.settings.waiting_limit


def test_a_beacon_reaches_everybody_once(rig: Any) -> None:
    peers = [rig.start(name) for name in ("a", "b", "c")]
    peers[0].transport.broadcast(b"here i am", ())
    rig.wait(lambda: all(peer.packets() for peer in peers[1:]))
    rig.settle(0.1)
    for peer in peers[1:]:
        assert [packet.data for packet in peer.packets()] == [b"here i am"]
        assert peer.packets()[0].sender == peers[0].node
        assert peer.packets()[0].lane is Lane.DATAGRAM


def test_a_broadcast_reaches_a_named_target_without_beacons(
    rig: Any, settings: TransportSettings
) -> None:
    quiet = replace(settings, beacon=False)
    a, b, c = rig.start("a", quiet), rig.start("b", quiet), rig.start("c", quiet)
    contact = b.transport.contact
    targets = (*contact.addresses(contact.datagram), "not an address", "127.0.0.1:99999")
    a.transport.broadcast(b"psst", targets)
    rig.wait(b.packets)
    rig.settle(0.05)
    assert not c.packets()


def test_the_contact_names_what_is_really_bound(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    assert isinstance(a.transport.contact, Contact)
    ports = {a.transport.contact.stream, a.transport.contact.door}
    assert 0 not in ports
    assert not ports & {b.transport.contact.stream, b.transport.contact.door}


def test_deadlines_tell_when_a_knock_runs_out(rig: Any) -> None:
    a, b = rig.start("a"), rig.start("b")
    rig.settle(0.02)
    a.transport.knock(b.transport.contact, b.curve.public, b"?", "@trust/b", 4.0)
    rig.wait(b.packets)
    due = a.transport.next_deadline()
    assert due is not None
