import random
from collections.abc import Mapping

import msgspec
import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Announce, Effect, Instant, Send
from qallow_agent.base.notice import Notice
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.mesh.adverts.book import AdvertBook
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.wire.facts import AdvertChanged, MemberDown, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Advert,
    AdvertDigest,
    Adverts,
    DeviceAdvert,
    DeviceState,
    Incarnation,
    KernelAdvert,
    MemberRecord,
    MemberState,
)

KEYS = [SigningKey(bytes([i]) * 32) for i in range(1, 6)]
IDS = [NodeId(key.id) for key in KEYS]
KERNELS = (KernelAdvert("harmonic", 1, "ab12", ("cpu",)),)
LOAD = {"load": Reading(0.5, "ratio", "test")}


def at(mono_s: float) -> Instant:
    return Instant(mono_s, int((1_700_000_000 + mono_s) * 1e9))


def cpu(**changes: object) -> DeviceAdvert:
    fields: dict[str, object] = {
        "name": "cpu0",
        "kind": "cpu",
        "model": "Testchip",
        "state": DeviceState.OK,
        "slots": 2,
        "busy": 0,
        "memory_bytes": 1 << 30,
    }
    return DeviceAdvert(**(fields | changes))  # type: ignore[arg-type]


def book(index: int, epoch: int = 1, settings: AdvertSettings | None = None) -> AdvertBook:
    return AdvertBook(
        me=IDS[index],
        identity=KEYS[index],
        epoch=epoch,
        release="0.1.0",
        settings=settings or AdvertSettings(),
        rng=random.Random(index),
    )


def up(book_: AdvertBook, index: int, now: Instant) -> list[Effect]:
    book_.learn_key(IDS[index], KEYS[index].public)
    record = MemberRecord(
        IDS[index], MemberState.ALIVE, Incarnation(1), "n", Contact(("127.0.0.1",), 1, 2), b"c"
    )
    return book_.receive(book_.me, MemberUp(record), now)


def sent(effects: list[Effect]) -> list[tuple[NodeId, object]]:
    return [(e.to, e.message) for e in effects if isinstance(e, Send)]


def announced(effects: list[Effect]) -> list[NodeId]:
    return [
        e.message.node
        for e in effects
        if isinstance(e, Announce) and isinstance(e.message, AdvertChanged)
    ]


def only_advert(owner: AdvertBook) -> Advert:
    return owner.snapshot()[owner.me]


def published(
    index: int, now: Instant, readings: Mapping[str, Reading] = LOAD, epoch: int = 1
) -> Advert:
    owner = book(index, epoch)
    owner.publish((cpu(),), KERNELS, readings, now)
    return only_advert(owner)


def pair() -> tuple[AdvertBook, Advert]:
    """Return a book that knows node 1 as alive, and an advert of node 1."""
    reader = book(0)
    up(reader, 1, at(0))
    return reader, published(1, at(0))


def test_the_first_publish_is_told_to_every_live_peer() -> None:
    owner = book(0)
    up(owner, 1, at(0))
    up(owner, 2, at(0))
    effects = owner.publish((cpu(),), KERNELS, LOAD, at(1))
    assert announced(effects) == [IDS[0]]
    assert sorted(to for to, _ in sent(effects)) == sorted([IDS[1], IDS[2]])
    assert owner.version == 1


def test_a_signed_advert_is_believed_by_a_peer() -> None:
    reader, advert = pair()
    effects = reader.receive(IDS[1], Adverts((advert,)), at(1))
    assert announced(effects) == [IDS[1]]
    assert reader.snapshot()[IDS[1]] == advert


def test_whole_numbers_in_float_fields_do_not_spoil_the_signature() -> None:
    reader, _ = pair()
    advert = published(1, at(0), {"count": Reading(5, "count", "test")})
    over_the_wire = msgspec.msgpack.decode(msgspec.msgpack.encode(advert), type=Advert)
    assert announced(reader.receive(IDS[1], Adverts((over_the_wire,)), at(1))) == [IDS[1]]


def test_a_wobble_within_the_hysteresis_is_not_told() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    wobble = {"load": Reading(0.55, "ratio", "test")}
    assert owner.publish((cpu(),), KERNELS, wobble, at(5)) == []
    assert owner.version == 1


def test_a_slow_creep_is_told_once_it_has_crept_a_full_step() -> None:
    owner = book(0)
    versions = []
    for step in range(10):
        creep = {"load": Reading(0.5 + 0.03 * step, "ratio", "test")}
        owner.publish((cpu(),), KERNELS, creep, at(step))
        versions.append(owner.version)
    assert versions == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"state": DeviceState.HOT},
        {"busy": 1},
        {"slots": 4},
        {"why": "too hot"},
        {"rates": {"h": 1.0}},
        {"joules": {"h": 1e-6}},
    ],
)
def test_what_placement_depends_on_is_told_at_once(change: dict[str, object]) -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert announced(owner.publish((cpu(**change),), KERNELS, LOAD, at(1))) == [IDS[0]]


def test_an_energy_counter_that_grows_is_no_news() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, {"energy": Reading(1.0, "joules", "t")}, at(0))
    assert owner.publish((cpu(),), KERNELS, {"energy": Reading(9e9, "joules", "t")}, at(1)) == []


def test_a_sensor_that_fails_is_news() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert owner.publish((cpu(),), KERNELS, {"load": unknown("ratio", "t", "gone")}, at(1))


def test_changes_in_quick_succession_become_one_advert() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert owner.publish((cpu(busy=1),), KERNELS, LOAD, at(0.1)) == []
    assert owner.publish((cpu(busy=2),), KERNELS, LOAD, at(0.2)) == []
    assert owner.next_deadline() == 0.5
    assert announced(owner.tick(at(0.5))) == [IDS[0]]
    assert owner.version == 2
    assert only_advert(owner).devices[0].busy == 2


def test_what_waits_to_be_told_is_known_here_at_once() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert owner.publish((cpu(busy=1),), KERNELS, LOAD, at(0.1)) == []
    assert only_advert(owner).devices[0].busy == 1


def test_a_change_that_reverts_before_it_was_told_is_not_told() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    owner.publish((cpu(busy=1),), KERNELS, LOAD, at(0.1))
    owner.publish((cpu(),), KERNELS, LOAD, at(0.2))
    assert owner.tick(at(0.6)) == []
    assert owner.version == 1


def test_an_advert_is_renewed_at_half_of_its_life() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert owner.publish((cpu(),), KERNELS, LOAD, at(14.9)) == []
    assert announced(owner.publish((cpu(),), KERNELS, LOAD, at(15.0))) == [IDS[0]]


def test_an_advert_expires_by_the_time_of_its_receipt() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((advert,)), at(100))
    reader.tick(at(129.9))
    assert IDS[1] in reader.snapshot()
    assert announced(reader.tick(at(130))) == [IDS[1]]
    assert IDS[1] not in reader.snapshot()


def test_an_older_advert_does_not_replace_a_newer_one() -> None:
    reader, old = pair()
    newer = msgspec.structs.replace(published(1, at(3), epoch=2))
    reader.receive(IDS[1], Adverts((newer,)), at(1))
    assert reader.receive(IDS[1], Adverts((old,)), at(2)) == []
    assert reader.snapshot()[IDS[1]] == newer


def test_an_expired_advert_is_not_revived_by_gossip_but_by_its_owner() -> None:
    reader, advert = pair()
    up(reader, 2, at(0))
    reader.receive(IDS[1], Adverts((advert,)), at(0))
    reader.tick(at(31))
    assert announced(reader.receive(IDS[2], Adverts((advert,)), at(32))) == []
    assert announced(reader.receive(IDS[1], Adverts((advert,)), at(33))) == [IDS[1]]


def test_a_held_advert_sent_again_does_not_live_longer() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((advert,)), at(0))
    reader.receive(IDS[1], Adverts((advert,)), at(20))
    assert announced(reader.tick(at(30))) == [IDS[1]]


def test_an_altered_advert_is_refused_and_noticed_once() -> None:
    reader, advert = pair()
    forged = msgspec.structs.replace(advert, version=99)
    first = reader.receive(IDS[1], Adverts((forged,)), at(1))
    again = reader.receive(IDS[1], Adverts((forged,)), at(2))
    assert [e.event for e in first if isinstance(e, Notice)] == ["advert.refused"]
    assert again == []
    assert reader.refused["bad-signature"] == 2
    assert IDS[1] not in reader.snapshot()


def test_an_advert_signed_with_another_key_is_refused() -> None:
    reader, advert = pair()
    up(reader, 2, at(0))
    stolen = msgspec.structs.replace(advert, node=IDS[2])
    reader.receive(IDS[1], Adverts((stolen,)), at(1))
    assert reader.snapshot() == {}


def test_adverts_of_strangers_and_of_the_dead_are_not_believed() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((published(3, at(0)),)), at(1))
    reader.receive(IDS[0], MemberDown(IDS[1], left=False), at(1))
    reader.receive(IDS[1], Adverts((advert,)), at(2))
    assert reader.snapshot() == {}


def test_a_member_that_goes_down_takes_its_advert_along() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((advert,)), at(1))
    effects = reader.receive(IDS[0], MemberDown(IDS[1], left=False), at(2))
    assert announced(effects) == [IDS[1]]
    assert reader.snapshot() == {}


def test_nobody_can_speak_for_us_or_plant_facts() -> None:
    reader, _ = pair()
    mine = published(0, at(0), epoch=9)
    assert reader.receive(IDS[1], Adverts((mine,)), at(1)) == []
    record = MemberRecord(
        IDS[2], MemberState.ALIVE, Incarnation(1), "n", Contact(("h",), 1, 2), b"c"
    )
    assert reader.receive(IDS[1], MemberUp(record), at(1)) == []
    assert reader.receive(IDS[1], MemberDown(IDS[1], left=True), at(1)) == []


def test_a_key_that_does_not_give_the_node_id_is_not_learnt() -> None:
    reader = book(0)
    up(reader, 1, at(0))
    imposter = book(0)
    imposter.learn_key(IDS[1], KEYS[2].public)
    advert = published(1, at(0))
    record = MemberRecord(
        IDS[1], MemberState.ALIVE, Incarnation(1), "n", Contact(("h",), 1, 2), b"c"
    )
    imposter.receive(IDS[0], MemberUp(record), at(0))
    imposter.receive(IDS[1], Adverts((advert,)), at(1))
    assert imposter.snapshot() == {}
    assert imposter.refused["unknown-key"] == 1


def test_a_new_member_gets_our_advert_and_our_digest() -> None:
    owner = book(0)
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    messages = [message for _, message in sent(up(owner, 1, at(1)))]
    assert messages == [
        Adverts((only_advert(owner),)),
        AdvertDigest({IDS[0]: (1, 1)}),
    ]


def test_a_digest_is_answered_with_what_the_sender_lacks() -> None:
    reader, advert = pair()
    up(reader, 2, at(0))
    reader.receive(IDS[1], Adverts((advert,)), at(0))
    answer = sent(reader.receive(IDS[2], AdvertDigest({}), at(1)))
    assert answer == [(IDS[2], Adverts((advert,)))]
    assert sent(reader.receive(IDS[2], AdvertDigest({IDS[1]: (1, 1)}), at(1))) == []


def test_a_digest_that_shows_news_is_answered_with_our_own_digest() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((advert,)), at(0))
    answer = sent(reader.receive(IDS[1], AdvertDigest({IDS[1]: (1, 5)}), at(3)))
    assert answer == [(IDS[1], AdvertDigest({IDS[1]: (1, 1)}))]


def test_two_books_do_not_exchange_digests_for_ever() -> None:
    reader, _ = pair()
    news = AdvertDigest({IDS[1]: (1, 5)})
    answers = [sent(reader.receive(IDS[1], news, at(3 + tick / 100))) for tick in range(100)]
    assert sum(len(answer) for answer in answers) == 1


def test_books_are_compared_with_a_peer_now_and_then() -> None:
    reader, _ = pair()
    due_s = reader.next_deadline()
    assert due_s is not None
    assert [type(m) for _, m in sent(reader.tick(at(due_s)))] == [AdvertDigest]


def test_an_idle_book_without_peers_wants_no_ticks_but_for_expiry() -> None:
    owner = book(0)
    assert owner.next_deadline() is None
    owner.publish((cpu(),), KERNELS, LOAD, at(0))
    assert owner.next_deadline() == 30.0


def test_news_is_forwarded_only_where_the_owner_cannot_reach_everyone() -> None:
    settings = AdvertSettings(push_peers=1, forward_peers=1)
    crowded, small = book(0, settings=settings), book(0)
    for reader in (crowded, small):
        for index in (1, 2, 3):
            up(reader, index, at(0))
    advert = published(1, at(0))
    forwarded = sent(crowded.receive(IDS[1], Adverts((advert,)), at(1)))
    assert len(forwarded) == 1
    assert forwarded[0][0] in (IDS[2], IDS[3])
    assert sent(small.receive(IDS[1], Adverts((advert,)), at(1))) == []


def test_a_full_key_table_makes_room_by_forgetting_who_is_not_alive() -> None:
    reader = book(0, settings=AdvertSettings(max_nodes=2))
    up(reader, 1, at(0))
    up(reader, 2, at(0))
    up(reader, 3, at(0))
    assert reader.refused["key-table-full"] == 1
    reader.receive(IDS[0], MemberDown(IDS[1], left=False), at(1))
    up(reader, 3, at(2))
    reader.receive(IDS[3], Adverts((published(3, at(0)),)), at(3))
    assert list(reader.snapshot()) == [IDS[3]]


def test_an_advert_that_everyone_would_refuse_is_not_sent() -> None:
    owner = book(0)
    up(owner, 1, at(0))
    effects = owner.publish((cpu(),), KERNELS, {"load": Reading(float("nan"), "ratio", "t")}, at(1))
    assert [type(e) for e in effects] == [Notice]
    assert owner.version == 0


def test_a_snapshot_cannot_be_changed_and_does_not_change() -> None:
    reader, advert = pair()
    before = reader.snapshot()
    reader.receive(IDS[1], Adverts((advert,)), at(1))
    assert before == {}
    with pytest.raises(TypeError):
        reader.snapshot()[IDS[1]] = advert  # type: ignore[index]


def test_two_books_converge_whatever_was_lost_before() -> None:
    books = [book(0), book(1), book(2)]
    for a in range(3):
        books[a].publish((cpu(),), KERNELS, LOAD, at(0))
        for b in range(3):
            if a != b:
                up(books[a], b, at(0))
    by_id = {one.me: one for one in books}
    for round_s in range(1, 120):
        for one in books:
            waiting = [(one.me, e) for e in one.tick(at(round_s / 4)) if isinstance(e, Send)]
            while waiting:
                sender, effect = waiting.pop()
                target = by_id[effect.to]
                answers = target.receive(sender, effect.message, at(round_s / 4))
                waiting += [(target.me, e) for e in answers if isinstance(e, Send)]
            one.check()
        if all(len(one.snapshot()) == 3 for one in books):
            return
    pytest.fail("the books did not converge")


def test_check_finds_an_advert_of_somebody_who_is_not_live() -> None:
    reader, advert = pair()
    reader.receive(IDS[1], Adverts((advert,)), at(1))
    reader.check()
    reader._alive.clear()
    with pytest.raises(InvariantBroken):
        reader.check()


def gpus(count: int, heat_c: float) -> tuple[DeviceAdvert, ...]:
    readings = {f"detail{i}": Reading(float(i), "count", "nvml") for i in range(20)}
    readings |= {f"missing{i}": unknown("count", "nvml", "Not Supported") for i in range(20)}
    readings["temperature"] = Reading(heat_c, "celsius", "nvml")
    return tuple(cpu(name=f"gpu{i}", kind="cuda", readings=readings) for i in range(count))


def test_a_machine_with_many_devices_tells_what_fits_and_what_matters_most() -> None:
    alone = book(0)
    for count, told in ((4, 41), (8, 21), (16, 1)):
        alone.publish(gpus(count, 50.0), KERNELS, LOAD, at(count))
        devices = alone.snapshot()[IDS[0]].devices
        assert [len(device.readings) for device in devices] == [told] * count


def test_a_thinned_advert_is_not_told_anew_with_every_sample() -> None:
    alone = book(0)
    alone.publish(gpus(16, 50.0), KERNELS, LOAD, at(0))
    assert alone.publish(gpus(16, 51.0), KERNELS, LOAD, at(1)) == []
    assert alone.publish(gpus(16, 60.0), KERNELS, LOAD, at(2))
