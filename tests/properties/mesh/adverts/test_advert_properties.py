import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import PeerError
from qallow_agent.base.ids import NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Reading
from qallow_agent.mesh.adverts.advert import judge_advert, sign_advert
from qallow_agent.mesh.adverts.book import AdvertBook
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.wire.facts import MemberUp
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

ME, PEER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
names = st.text(max_size=12)
counts = st.integers(0, 2**53 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
readings = st.dictionaries(
    names,
    st.builds(Reading, finite, names, names) | st.just(Reading(None, "ratio", "s", "unknown", "x")),
    max_size=4,
)
rates = st.dictionaries(names, st.floats(0, 1e300), max_size=3)
devices = st.lists(
    st.builds(
        DeviceAdvert, names, names, names, st.sampled_from(DeviceState), counts, counts, counts,
        names, readings, rates, st.booleans(), rates,
    ),
    max_size=3,
    unique_by=lambda device: device.name,
).map(tuple)  # fmt: skip
kernels = st.lists(
    st.builds(KernelAdvert, names, counts, names, st.lists(names, max_size=2).map(tuple)),
    max_size=3,
).map(tuple)
adverts = st.builds(
    Advert,
    node=st.just(NodeId(PEER.id)),
    epoch=counts,
    version=counts,
    issued_ms=counts,
    ttl_s=st.floats(0.1, 3600),
    devices=devices,
    kernels=kernels,
    readings=readings,
    release=names,
)
anything = st.floats() | st.integers(-(2**63), 2**63 - 1)
wild = st.builds(
    Advert,
    node=st.sampled_from([NodeId(PEER.id), NodeId(ME.id), NodeId("")]),
    epoch=st.integers(-(2**63), 2**63 - 1),
    version=st.integers(-(2**63), 2**63 - 1),
    issued_ms=st.integers(-(2**63), 2**63 - 1),
    ttl_s=st.floats(),
    devices=st.lists(
        st.builds(
            DeviceAdvert, names, names, names, st.sampled_from(DeviceState),
            st.integers(-5, 2**63), st.integers(-5, 5), st.integers(-5, 2**63),
            rates=st.dictionaries(names, st.floats(), max_size=2),
            joules=st.dictionaries(names, st.floats(), max_size=2),
        ),
        max_size=3,
    ).map(tuple),
    kernels=kernels,
    readings=st.dictionaries(
        names, st.builds(Reading, st.none() | anything, names, names), max_size=2
    ),
    release=names,
    signature=st.binary(max_size=80),
)  # fmt: skip


@given(adverts)
@settings(deadline=None, max_examples=60)
def test_a_signed_advert_survives_the_wire_and_verifies(advert: Advert) -> None:
    signed = sign_advert(advert, PEER)
    arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(signed), type=Advert)
    assert judge_advert(arrived, PEER.public, 1 << 20) > 0


@given(adverts, st.data())
@settings(deadline=None, max_examples=60)
def test_any_altered_field_breaks_the_signature(advert: Advert, data: st.DataObject) -> None:
    signed = sign_advert(advert, PEER)
    name = data.draw(st.sampled_from(["epoch", "version", "issued_ms", "release", "devices"]))
    other = data.draw(adverts)
    altered = msgspec.structs.replace(signed, **{name: getattr(other, name)})
    same = sign_advert(altered, PEER).signature == signed.signature
    if not same:
        with pytest.raises(PeerError):
            judge_advert(altered, PEER.public, 1 << 20)


@given(
    st.lists(
        st.lists(wild, max_size=3).map(lambda items: Adverts(tuple(items)))
        | st.dictionaries(
            names.map(NodeId), st.tuples(st.integers(), st.integers()), max_size=4
        ).map(AdvertDigest),
        max_size=5,
    )
)
@settings(deadline=None, max_examples=60)
def test_whatever_a_peer_sends_the_book_keeps_its_rules(
    messages: list[Adverts | AdvertDigest],
) -> None:
    book = AdvertBook(
        me=NodeId(ME.id),
        identity=ME,
        epoch=1,
        release="r",
        settings=AdvertSettings(),
        rng=random.Random(0),
    )
    peer = NodeId(PEER.id)
    book.learn_key(peer, PEER.public)
    record = MemberRecord(peer, MemberState.ALIVE, Incarnation(1), "n", Contact(("h",), 1, 2), b"c")
    book.receive(ME.id, MemberUp(record), Instant(0.0, 0))
    for second, message in enumerate(messages):
        book.receive(peer, message, Instant(float(second), 0))
        book.check()
    assert book.snapshot() == {}
