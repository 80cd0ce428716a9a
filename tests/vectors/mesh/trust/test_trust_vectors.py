"""Golden bytes of trust: what is signed, and the invite. A new version is a new domain."""

import hashlib

import msgspec

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import SigningKey, verify
from qallow_agent.mesh.trust.certificates import Subject, bind_curve, certificate_bytes, issue
from qallow_agent.mesh.trust.invites import Invitation, decode_invitation, encode_invitation
from qallow_agent.mesh.trust.revocations import revocation_bytes, revoke
from qallow_agent.mesh.wire.kinds import Role

NOW_S = 1_800_000_000
MESH_KEY, NODE_KEY = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
MESH = MeshId(MESH_KEY.id)
CERTIFICATE = issue(
    MESH_KEY,
    Subject(NODE_KEY.public, "box", (Role.WORKER, Role.ISSUER), "edge", (1, 1)),
    mesh=MESH,
    now_s=NOW_S,
    lifetime_s=86_400,
)
INVITATION = Invitation(
    MESH,
    Contact(("192.0.2.1", "2001:db8::1"), 7946, 7947, 7946),
    NodeId(NODE_KEY.id),
    bytes(range(32)),
    bytes(range(16)),
    NOW_S,
)

SIGNED = bytes.fromhex(
    "71616c6c6f772f63657274696669636174652f7631008ba9657870697265735f73ce6b4b2380a86973737565"
    "645f73ce6b49d200a6697373756572ba67723271376766356c6836707a66646e75726e6b767075746870a46d"
    "657368ba67723271376766356c6836707a66646e75726e6b767075746870a46e616d65a3626f78a46e6f6465"
    "ba6e693461687670716c6769637568646e7636366a786a64737369a86e6f64655f6b6579c4208139770ea87d"
    "175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394a870726f746f636f6c920101a5726f6c6573"
    "92a6776f726b6572a6697373756572a97369676e6174757265c400a47a6f6e65a465646765"
)
SIGNATURE = bytes.fromhex(
    "37c948f89f50193c9bee76e9e81dc76bc5bc95c64ea847cfe946e991270e6ebb5394ef56de01d9a78095132c"
    "c86f71dbb6238ee5cfd9e0c4fc6d6d3aa6275909"
)
BINDING = bytes.fromhex(
    "08e9f610be437ee2817bbdc72d9d4a302f156840bd45e8c1824657b6b59a12cf8f77eb4abf0c2861aaee83bb"
    "c4639bb4f7d4cca3454fc7b9ce47777868cb7d05"
)
REVOCATION = "6d53e193fc38922c02bb0eba004fd718966eefa6062709186f1195b2e4c673f9"
INVITE = (
    "qj1-s25go4rsoe3wozrvnrudm4d2mzsg45lsnzvxm4dvoruhbfesveytsmrogaxdelrrvmzdambrhjsgeob2hiy4"
    "2hykzupqxti7bk5g42jumfuhm4drnrtwsy3vnbsg45rwgzvhq2teonzwtrbaaaaqeayeaudaocajbifqydiob4ib"
    "ceqtcqkrmfyydenbwha5dyp4ieaaaebagbafaydqqcikbmga2dqpzzvutuqapnayxy55"
)


def test_the_signed_bytes_of_a_certificate_are_these() -> None:
    assert certificate_bytes(CERTIFICATE) == SIGNED


def test_the_signature_does_not_cover_itself() -> None:
    assert certificate_bytes(msgspec.structs.replace(CERTIFICATE, signature=b"x")) == SIGNED


def test_the_signature_of_a_certificate_is_this() -> None:
    assert CERTIFICATE.signature == SIGNATURE
    verify(MESH_KEY.public, SIGNED, SIGNATURE)


def test_the_signature_of_a_binding_is_this() -> None:
    assert bind_curve(NODE_KEY, bytes(32), 5, NOW_S).signature == BINDING


def test_the_signed_bytes_of_a_revocation_hash_to_this() -> None:
    revocation = revoke(
        NODE_KEY, CERTIFICATE, mesh=MESH, node=NodeId("x" * 26), reason="stolen", now_s=NOW_S
    )
    assert hashlib.sha256(revocation_bytes(revocation)).hexdigest() == REVOCATION


def test_an_invite_is_this_line() -> None:
    assert encode_invitation(INVITATION) == INVITE
    assert decode_invitation(INVITE) == INVITATION
