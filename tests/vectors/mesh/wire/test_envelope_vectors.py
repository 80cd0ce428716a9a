"""Golden bytes of the wire. Changing one breaks every deployed peer: raise PROTOCOL first."""

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.message import kinds
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.identity import pack_id
from qallow_agent.mesh.wire.kinds import MESH_KINDS, Probe, Pulse
from qallow_agent.mesh.wire.seal import Sealer

ME = NodeId("abcdefghijklmnopqrstuvwxyz")
MESH = MeshId("m" * 26)
STAMP = Stamp(1_800_000_000_000, 7)
CODEC = MeshCodec(kinds(MESH_KINDS))

PROBE = bytes.fromhex(
    "9601aa7377696d2e70726f6265ba6162636465666768696a6b6c6d6e6f707172737475767778797a92cf0000"
    "01a3185c500007a17482a474797065aa7377696d2e70726f6265a373657103"
)
PULSE = bytes.fromhex(
    "9601aa73796e632e70756c7365ba6162636465666768696a6b6c6d6e6f707172737475767778797a92cf0000"
    "01a3185c500007a084a474797065aa73796e632e70756c7365a373657101a574315f6e73cf18fae2769b0fcd"
    "15a76379636c655f73cb3fb999999999999a"
)
SEALED = bytes.fromhex(
    "0139ef313c000110c8531d0952d8d73e1194e95b5f19000000000000000500000000000000008b698db612b9"
    "f694e02f700f89aeef05a8bb970bd2"
)
PACKED = bytes.fromhex("000110c8531d0952d8d73e1194e95b5f19")


def test_a_probe_is_these_bytes() -> None:
    assert CODEC.encode(Probe(3), ME, STAMP, "t") == PROBE
    letter = CODEC.decode(PROBE)
    assert (letter.message, letter.sender, letter.stamp, letter.trace) == (Probe(3), ME, STAMP, "t")


def test_a_pulse_is_these_bytes() -> None:
    pulse = Pulse(1, 1_800_000_000_123_456_789, 0.1)
    assert CODEC.encode(pulse, ME, STAMP) == PULSE
    assert CODEC.decode(PULSE).message == pulse


def test_an_id_is_these_bytes() -> None:
    assert pack_id(ME) == PACKED


def test_a_sealed_datagram_is_these_bytes() -> None:
    key = bytes(range(32))
    assert Sealer((key,), MESH, ME, 5).seal(b"hello") == SEALED
    assert Sealer((key,), MESH, ME, 5).open(SEALED) == (ME, b"hello")
