import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import key_id
from qallow_agent.mesh.wire.identity import PACKED_BYTES, is_identity, pack_id, unpack_id


def test_the_id_of_a_key_packs_and_unpacks() -> None:
    identity = key_id(bytes(32))
    packed = pack_id(identity)
    assert len(packed) == PACKED_BYTES
    assert unpack_id(packed) == identity


@pytest.mark.parametrize(
    "text", ["", "a" * 25, "a" * 27, "A" * 26, "a" * 25 + "1", "a" * 25 + "\u0131"]
)
def test_what_is_no_id_does_not_pack(text: str) -> None:
    assert not is_identity(text)
    with pytest.raises(Malformed):
        pack_id(text)


@pytest.mark.parametrize("packed", [b"", bytes(16), bytes(18), b"\xff" * 17])
def test_what_holds_no_id_does_not_unpack(packed: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_id(packed)
