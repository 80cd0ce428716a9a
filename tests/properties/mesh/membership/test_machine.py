"""Whatever members say, in whatever order, the machine keeps its invariants and its bounds."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.machine import Instant, Send
from qallow_agent.base.message import Message
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.wire.facts import LinkRefused, MemberMet
from qallow_agent.mesh.wire.kinds import (
    Ack,
    Certificate,
    Credential,
    CurveBinding,
    Gossip,
    Incarnation,
    MemberRecord,
    MemberState,
    Nack,
    Probe,
    ProbeRelay,
    PushPull,
)

MESH = MeshId("m" * 26)
NAMES = "abcdef"
ME = NodeId("a" * 26)
NODES = st.sampled_from([NodeId(c * 26) for c in NAMES])


def contact(port: int) -> Contact:
    return Contact(("10.0.0.1",), port, port, port)


RECORDS = st.builds(
    MemberRecord,
    node=NODES,
    state=st.sampled_from(MemberState),
    incarnation=st.builds(Incarnation, st.integers(0, 3), st.integers(0, 3)),
    name=st.just("box"),
    contact=st.integers(1, 2).map(contact),
    curve_key=st.sampled_from([b"k" * 32, b"l" * 32]),
    accusers=st.lists(NODES, max_size=5).map(tuple),
    advert=st.integers(0, 3),
    refused=st.lists(NODES, max_size=3).map(tuple),
)
CLAIMS = st.lists(RECORDS, max_size=4).map(tuple)
SEQS = st.integers(0, 5)
MET = st.builds(
    lambda node, epoch, port, key: MemberMet(
        Credential(
            Certificate(MESH, node, b"", "box", (), "", 0, 0, (1, 1), MESH),
            CurveBinding(key, 0, epoch, b""),
        ),
        contact(port),
    ),
    NODES,
    st.integers(0, 3),
    st.integers(1, 2),
    st.sampled_from([b"k" * 32, b"l" * 32]),
)
FACTS = st.one_of(MET, MET, st.builds(LinkRefused, NODES))
MESSAGES = st.one_of(
    st.builds(Probe, SEQS, CLAIMS),
    st.builds(Ack, SEQS, st.none() | NODES, CLAIMS),
    st.builds(Nack, SEQS, NODES),
    st.builds(ProbeRelay, SEQS, NODES),
    st.builds(Gossip, CLAIMS),
    st.builds(PushPull, CLAIMS, st.booleans()),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("@trust"), FACTS),
        st.tuples(NODES, MESSAGES),
        st.floats(0.0, 15.0).map(lambda wait: ("wait", wait)),
    ),
    max_size=25,
)


@given(STEPS, st.integers(0, 2**16))
@settings(deadline=None, max_examples=120)
def test_no_sequence_of_claims_breaks_the_machine(
    steps: list[tuple[str, Message | float]], seed: int
) -> None:
    me = MemberRecord(ME, MemberState.ALIVE, Incarnation(1), "me", contact(9), b"m" * 32)
    machine = Membership(me=me, settings=MembershipSettings(), rng=random.Random(seed), kept={})
    now_s, highest = 10.0, {ME: me.incarnation}
    for sender, what in steps:
        if isinstance(what, float):
            end_s = now_s + what
            while (due_s := machine.next_deadline()) is not None and due_s <= end_s:
                now_s = max(now_s, due_s)
                effects = machine.tick(Instant(now_s, 0))
            now_s = end_s
            effects = machine.tick(Instant(now_s, 0))
        else:
            effects = machine.receive(sender, what, Instant(now_s, 0))
        machine.check()
        assert ME not in [effect.to for effect in effects if isinstance(effect, Send)]
        for record in machine.members():
            assert record.incarnation >= highest.get(record.node, record.incarnation)
            highest[record.node] = record.incarnation
        own = machine.record_of(ME)
        assert own is not None
        assert own.state is MemberState.ALIVE, "only leaving makes us leave"
        assert len(machine.members()) <= len(NAMES)
