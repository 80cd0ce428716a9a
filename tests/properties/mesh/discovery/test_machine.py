"""Whatever is heard, in whatever order, discovery keeps its invariants and never stops looking."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.machine import Broadcast, Instant, Persist
from qallow_agent.base.message import Message
from qallow_agent.mesh.discovery.book import BOOK_FILE
from qallow_agent.mesh.discovery.discovery import Discovery
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.wire.facts import MemberDown, MemberHeardOf, MemberMet, MemberUp
from qallow_agent.mesh.wire.kinds import (
    Beacon,
    Certificate,
    Credential,
    CurveBinding,
    Incarnation,
    MemberRecord,
    MemberState,
)

MESH, ME = MeshId("m" * 26), NodeId("a" * 26)
NODES = st.sampled_from([NodeId(c * 26) for c in "abcdefg"])
CONTACTS = st.integers(0, 2).map(lambda port: Contact(("10.0.0.1",), port, port, port))
KEYS = st.sampled_from([b"k" * 32, b"l" * 32])


def met(node: NodeId, contact: Contact, key: bytes) -> MemberMet:
    certificate = Certificate(MESH, node, b"", "", (), "", 0, 0, (1, 1), MESH)
    return MemberMet(Credential(certificate, CurveBinding(key, 0, 1, b"")), contact)


def up(node: NodeId, contact: Contact, key: bytes) -> MemberUp:
    return MemberUp(MemberRecord(node, MemberState.ALIVE, Incarnation(1), "", contact, key))


FACTS = st.one_of(
    st.builds(met, NODES, CONTACTS, KEYS),
    st.builds(up, NODES, CONTACTS, KEYS),
    st.builds(MemberDown, NODES, st.booleans()),
    st.builds(MemberHeardOf, NODES, CONTACTS, KEYS),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(ME), FACTS),
        st.builds(Beacon, st.just(MESH), NODES, CONTACTS, KEYS, st.booleans()).map(
            lambda beacon: (beacon.node, beacon)
        ),
        st.sampled_from([0.0, 0.5, 40.0, 90_000.0]).map(lambda wait: ("wait", wait)),
        NODES.map(lambda node: ("forget", node)),
    ),
    max_size=30,
)


def explorer(seed: int, kept: dict[str, bytes]) -> Discovery:
    return Discovery(
        me=ME,
        mesh=MESH,
        contact=Contact(("10.0.0.9",), 9, 9, 9),
        curve_key=b"m" * 32,
        settings=DiscoverySettings(book_limit=3, unmet_limit=2, seeds=("seed:1",)),
        rng=random.Random(seed),
        kept=kept,
    )


@given(STEPS, st.integers(0, 2**16))
@settings(deadline=None, max_examples=100)
def test_nothing_that_is_heard_breaks_the_machine(
    steps: list[tuple[str, Message | float | NodeId]], seed: int
) -> None:
    kept: dict[str, bytes] = {}
    machine, now_s = explorer(seed, kept), 10.0
    for sender, what in steps:
        now = Instant(now_s, int(now_s * 1e9))
        effects = []
        if isinstance(what, float):
            now_s += what
            for _ in range(3):
                effects += machine.tick(Instant(now_s, int(now_s * 1e9)))
        elif isinstance(what, str):
            machine.forget(NodeId(what), now)
        else:
            effects += machine.receive(sender, what, now)
        machine.check()
        assert machine.next_deadline() is not None
        assert ME not in [entry.node for entry in machine.book()]
        for effect in effects:
            if isinstance(effect, Broadcast):
                assert all(not target.endswith(":0") for target in effect.targets)
            if isinstance(effect, Persist):
                assert effect.data is not None
                kept[effect.name] = effect.data
    explorer(seed, kept).check()
    assert set(kept) <= {BOOK_FILE}
