import msgspec
import pytest

from qallow_agent.base.errors import (
    InvariantBroken,
    Malformed,
    TooLarge,
    UnknownKind,
    VersionMismatch,
)
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.base.message import Done, kinds
from qallow_agent.mesh.wire.codec import LIMIT_BYTES, MeshCodec
from qallow_agent.mesh.wire.kinds import MESH_KINDS, Probe, Pulse

ME = NodeId("abcdefghijklmnopqrstuvwxyz")
STAMP = Stamp(1_800_000_000_000, 7)
CODEC = MeshCodec(kinds(MESH_KINDS))


def envelope(**changes: object) -> bytes:
    parts: dict[str, object] = {
        "protocol": 1,
        "kind": "swim.probe",
        "sender": ME,
        "stamp": [1, 0],
        "trace": "",
        "body": {"type": "swim.probe", "seq": 3},
    }
    return msgspec.msgpack.encode(list((parts | changes).values()))


def test_a_letter_survives_the_round_trip() -> None:
    letter = CODEC.decode(CODEC.encode(Probe(3), ME, STAMP, "00-ab-cd-01"))
    assert (letter.sender, letter.message, letter.stamp) == (ME, Probe(3), STAMP)
    assert letter.trace == "00-ab-cd-01"


def test_a_letter_in_a_borrowed_buffer_is_read() -> None:
    assert CODEC.decode(memoryview(CODEC.encode(Probe(3), ME, STAMP))).message == Probe(3)


def test_fields_of_a_newer_peer_are_ignored() -> None:
    body = {"type": "swim.probe", "seq": 3, "mood": "sunny"}
    data = envelope(body=body, appended="later")
    assert CODEC.decode(data).message == Probe(3)


@pytest.mark.parametrize(
    ("spoken", "side"), [(2, "this node"), (0, f"node {ME}"), (-1, f"node {ME}")]
)
def test_another_protocol_is_named_with_the_side_to_upgrade(spoken: int, side: str) -> None:
    with pytest.raises(VersionMismatch, match=f"speaks protocol {spoken}, this node 1 to 1") as it:
        CODEC.decode(envelope(protocol=spoken))
    assert it.value.hint == f"upgrade qallow-agent on {side}"


def test_another_protocol_with_another_envelope_is_still_a_version_mismatch() -> None:
    with pytest.raises(VersionMismatch):
        CODEC.decode(msgspec.msgpack.encode([9, {"all": "new"}]))


def test_an_unknown_kind_is_told_apart_from_junk() -> None:
    with pytest.raises(UnknownKind):
        CODEC.decode(envelope(kind="swim.dance"))


def test_a_kind_that_is_not_spoken_here_is_never_sent() -> None:
    with pytest.raises(InvariantBroken):
        CODEC.encode(Done(), ME, STAMP)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "me"},
        {"sender": ME.upper()},
        {"sender": 4},
        {"stamp": [1]},
        {"trace": "x" * 129},
        {"body": {"type": "swim.ack", "seq": 3}},
        {"body": {"type": "swim.probe", "seq": "three"}},
        {"body": {"type": "swim.probe"}},
        {"body": 7},
    ],
)
def test_a_wrong_field_is_malformed(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        CODEC.decode(envelope(**changes))


def test_a_truncated_letter_is_malformed_at_every_length() -> None:
    data = CODEC.encode(Pulse(1, 2, 0.1), ME, STAMP)
    for length in range(len(data)):
        with pytest.raises(Malformed):
            CODEC.decode(data[:length])


def test_trailing_bytes_are_malformed() -> None:
    with pytest.raises(Malformed):
        CODEC.decode(CODEC.encode(Probe(3), ME, STAMP) + b"\x00")


def test_an_oversized_letter_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        CODEC.decode(bytes(LIMIT_BYTES + 1))


def test_an_oversized_letter_is_not_sent() -> None:
    with pytest.raises(TooLarge):
        MeshCodec(kinds(MESH_KINDS), limit_bytes=20).encode(Probe(3), ME, STAMP)


def test_deeply_nested_junk_is_malformed() -> None:
    with pytest.raises(Malformed):
        CODEC.decode(b"\x91" * 60_000)
