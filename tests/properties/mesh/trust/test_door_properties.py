import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import PeerError
from qallow_agent.base.keys import CurveKey, NodeKeys, SigningKey
from qallow_agent.base.machine import Admit, Instant, Reply
from qallow_agent.base.message import Failure, kinds
from qallow_agent.mesh.trust.doorkeeper import Doorkeeper
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import found_mesh
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.kinds import DOOR_KINDS, MESH_KINDS

NOW = Instant(1.0, 1_800_000_000_000_000_000)
NODE, CURVE, MESH = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
KEYS = NodeKeys(SigningKey(NODE), CurveKey(CURVE), SigningKey(MESH))
CONTACT = Contact(("box",), 1, 2)
SETTINGS = TrustSettings()
STANDING = found_mesh(KEYS, "box", "mesh", bytes(32), 1, 1_800_000_000, SETTINGS)
CODEC = MeshCodec(kinds((*DOOR_KINDS, *MESH_KINDS, Failure)))

keys = st.binary(min_size=31, max_size=33) | st.just(KEYS.identity.public)
ids = st.sampled_from([STANDING.node, "a" * 26, "", STANDING.mesh])
bindings = st.fixed_dictionaries(
    {
        "curve_key": keys,
        "not_before_s": st.integers(-(2**63), 2**64 - 1),
        "epoch": st.integers(-1, 2**64 - 1),
        "signature": st.binary(max_size=65),
    }
)
contacts = st.tuples(
    st.lists(st.text(max_size=9), max_size=18),
    st.integers(-1, 70_000),
    st.integers(-1, 70_000),
    st.integers(-1, 70_000),
)
certificates = st.fixed_dictionaries(
    {
        "mesh": ids,
        "node": ids,
        "node_key": keys,
        "name": st.text(max_size=9),
        "roles": st.lists(st.sampled_from(["worker", "issuer", "owner"]), max_size=3),
        "zone": st.text(max_size=9),
        "issued_s": st.integers(-(2**63), 2**64 - 1),
        "expires_s": st.integers(-(2**63), 2**64 - 1),
        "protocol": st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
        "issuer": ids,
        "signature": st.binary(max_size=65),
    }
)
credentials = st.fixed_dictionaries(
    {"certificate": certificates, "binding": bindings, "issuer": st.none() | certificates}
)
hellos = st.fixed_dictionaries(
    {
        "type": st.just("door.hello"),
        "credential": credentials,
        "contact": contacts,
        "answer": st.booleans(),
        "to": ids,
        "signature": st.binary(max_size=65),
    }
)
joins = st.fixed_dictionaries(
    {
        "type": st.just("door.join"),
        "secret": st.binary(max_size=20),
        "node_key": keys,
        "name": st.text(max_size=9),
        "protocol": st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
        "binding": bindings,
        "contact": contacts,
    }
)


@settings(deadline=None, max_examples=150)
@given(hellos | joins)
def test_no_made_up_knock_opens_the_door_or_breaks_it(body: dict[str, object]) -> None:
    door = Doorkeeper(
        keys=KEYS,
        standing=STANDING,
        contact=CONTACT,
        settings=SETTINGS,
        rng=random.Random(1),
        kept={},
    )
    data = msgspec.msgpack.encode([1, body["type"], "a" * 26, [1, 0], "", body])
    try:
        message = CODEC.decode(data).message
    except PeerError:
        return
    effects = door.receive("@door/1", message, NOW)
    assert not [effect for effect in effects if isinstance(effect, Admit)]
    answers = [effect.message for effect in effects if isinstance(effect, Reply)]
    assert all(isinstance(answer, Failure) for answer in answers)
    door.check()
