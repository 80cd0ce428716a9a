from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qallow_agent.base.errors import BadSignature, JoinRefused, Malformed, PeerError
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey
from qallow_agent.base.message import kinds
from qallow_agent.mesh.trust.revocations import (
    BATCH,
    REASON_LIMIT,
    Revocations,
    decode_revocations,
    in_batches,
    revocation_bytes,
    revoke,
    verify_revocation,
)
from qallow_agent.mesh.wire.codec import MeshCodec
from qallow_agent.mesh.wire.kinds import MESH_KINDS, Revocation

if TYPE_CHECKING:
    from tests.unit.mesh.trust.conftest import Town

NOW_S = 1_800_000_000
MESH_KEY = SigningKey(bytes([1]) * 32)
MESH = MeshId(MESH_KEY.id)
NODE = NodeId("x" * 26)


def revocation(node: str = NODE, **changes: Any) -> Revocation:
    """Return a revocation by the mesh key, changed before it is signed."""
    made = revoke(MESH_KEY, None, mesh=MESH, node=NodeId(node), reason="stolen", now_s=NOW_S)
    bent = msgspec.structs.replace(made, **changes)
    return msgspec.structs.replace(bent, signature=MESH_KEY.sign(revocation_bytes(bent)))


def test_a_revocation_is_taken_in_once_and_kept() -> None:
    book = Revocations((), 9)
    assert book.add([revocation()], MESH, MESH_KEY.public) == (revocation(),)
    assert book.add([revocation()], MESH, MESH_KEY.public) == ()
    assert NODE in book
    assert decode_revocations(book.encode()) == book.all() == (revocation(),)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mesh": MeshId("z" * 26)}, BadSignature),
        ({"node": NodeId("me")}, Malformed),
        ({"reason": "x" * (REASON_LIMIT + 1)}, Malformed),
        ({"issuer": "z" * 26}, BadSignature),
    ],
)
def test_a_wrong_revocation_is_refused(change: dict[str, Any], error: type[PeerError]) -> None:
    with pytest.raises(error):
        verify_revocation(revocation(**change), MESH, MESH_KEY.public)


def test_a_revocation_by_an_issuer_after_its_time_is_refused(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer",))
    standing = issuer.standing
    late = revoke(
        issuer.keys.identity,
        standing.certificate,
        mesh=standing.mesh,
        node=NODE,
        reason="",
        now_s=standing.certificate.expires_s,
    )
    with pytest.raises(JoinRefused, match="outside its issuer's time"):
        verify_revocation(late, standing.mesh, standing.mesh_key)


def test_the_fuse_stops_a_runaway_issuer() -> None:
    book = Revocations((), 1)
    with pytest.raises(JoinRefused, match="more than 1"):
        book.add([revocation("x" * 26), revocation("y" * 26)], MESH, MESH_KEY.public)
    assert book.all() == ()


def test_a_long_reason_is_cut() -> None:
    made = revoke(MESH_KEY, None, mesh=MESH, node=NODE, reason="x" * 999, now_s=NOW_S)
    verify_revocation(made, MESH, MESH_KEY.public)


def test_a_full_batch_of_the_largest_revocations_fits_a_letter(town: "Town") -> None:
    issuer = town.join("issuer", roles=("issuer", "worker", "submitter", "observer", "validator"))
    big = msgspec.structs.replace(issuer.standing.certificate, name="n" * 63, zone="z" * 63)
    one = revoke(
        issuer.keys.identity, big, mesh=MESH, node=NODE, reason="\u20ac" * 200, now_s=NOW_S
    )
    (batch,) = in_batches((one,) * BATCH)
    MeshCodec(kinds(MESH_KINDS)).encode(batch, NODE, Stamp(NOW_S * 1000, 0))
    assert len(in_batches((one,) * (BATCH + 1))) == 2
