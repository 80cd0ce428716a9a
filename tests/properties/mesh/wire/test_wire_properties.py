import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.errors import Malformed, Replayed, WireError
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.message import Failure, kinds
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.envelope import Letter
from qallow_agent.mesh.wire.identity import pack_id, unpack_id
from qallow_agent.mesh.wire.kinds import DOOR_KINDS, MESH_KINDS, Probe
from qallow_agent.mesh.wire.seal import WINDOW, Sealer

KINDS = kinds((*MESH_KINDS, *DOOR_KINDS, Failure))
CODEC = MeshCodec(KINDS)
ME = NodeId("a" * 26)
MESH = MeshId("m" * 26)
KEY = bytes(32)
LETTER = CODEC.encode(Probe(3), ME, Stamp(1, 0))

identities = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26).map(NodeId)
junk_values = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


def decode(data: bytes) -> Letter | None:
    """Return the letter, or None where the bytes are refused as any wire error."""
    try:
        return CODEC.decode(data)
    except WireError:
        return None


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_raise_nothing_but_wire_errors(data: bytes) -> None:
    decode(data)


@settings(deadline=None)
@given(junk_values)
def test_any_value_raises_nothing_but_wire_errors(value: object) -> None:
    assert decode(msgspec.msgpack.encode(value)) is None


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(KINDS)), junk_values)
def test_any_body_under_a_known_kind_raises_nothing_but_wire_errors(
    kind: str, body: object
) -> None:
    decode(msgspec.msgpack.encode([1, kind, ME, [1, 0], "", body]))


@settings(deadline=None)
@given(st.integers(0, len(LETTER) - 1), st.integers(0, 255))
def test_any_changed_byte_raises_nothing_but_wire_errors(place: int, value: int) -> None:
    decode(LETTER[:place] + bytes([value]) + LETTER[place + 1 :])


@settings(deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    identities,
    st.integers(0, 2**48),
    st.integers(0, 0xFFFF),
    st.text(max_size=128),
)
def test_every_letter_survives_the_round_trip(
    seq: int, sender: NodeId, wall_ms: int, counter: int, trace: str
) -> None:
    stamp = Stamp(wall_ms, counter)
    letter = CODEC.decode(CODEC.encode(Probe(seq), sender, stamp, trace))
    assert letter == Letter(sender, Probe(seq), stamp, trace)


@given(identities)
def test_every_id_packs_and_unpacks(identity: NodeId) -> None:
    assert unpack_id(pack_id(identity)) == identity


@given(st.binary(max_size=20))
def test_any_packed_bytes_are_an_id_or_malformed(packed: bytes) -> None:
    try:
        identity = unpack_id(packed)
    except Malformed:
        return
    assert pack_id(identity) == packed


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_datagram_raises_nothing_but_wire_errors(data: bytes) -> None:
    for datagram in (data, Sealer((KEY,), MESH, ME, 1).seal(b"")[:5] + data):
        try:
            Sealer((KEY,), MESH, ME, 1).open(datagram)
        except WireError:
            continue
        raise AssertionError("junk opened")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_the_replay_window_agrees_with_a_dumb_one(order: list[int]) -> None:
    writer, reader = Sealer((KEY,), MESH, ME, 1), Sealer((KEY,), MESH, ME, 1)
    seen: set[int] = set()
    for counter in order:
        writer._counter = counter
        wanted = counter not in seen and counter > max(seen, default=-1) - WINDOW
        try:
            reader.open(writer.seal(b"x"))
            opened = True
        except Replayed:
            opened = False
        assert opened == wanted
        seen |= {counter} if opened else set()
