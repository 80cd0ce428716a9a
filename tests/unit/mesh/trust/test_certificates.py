from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import (
    BadSignature,
    ConfigError,
    JoinRefused,
    Malformed,
    QallowError,
    StorageCorrupt,
)
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import NodeKeys, SigningKey
from qallow_agent.mesh.trust.certificates import (
    CLOCK_SKEW_S,
    PRIVILEGED,
    Subject,
    bind_curve,
    certificate_bytes,
    issue,
    verify_credential,
)
from qallow_agent.mesh.trust.contacts import check_contact, show_contact
from qallow_agent.mesh.trust.invites import decode_invitation
from qallow_agent.mesh.trust.standing import (
    decode_standing,
    encode_standing,
    found_mesh,
    join_request,
    rebind,
    reissue,
)
from qallow_agent.mesh.wire.kinds import Certificate, Credential, Role

if TYPE_CHECKING:
    from tests.unit.mesh.trust.conftest import Town

NOW_S = 1_800_000_000
MESH_KEY, NODE_KEY, ISSUER_KEY = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
MESH = MeshId(MESH_KEY.id)
DAY_S = 86_400


def certificate(
    key: SigningKey = NODE_KEY, *roles: Role, signer: SigningKey = MESH_KEY, **how: Any
) -> Certificate:
    given = {"mesh": MESH, "now_s": NOW_S, "lifetime_s": 90 * DAY_S} | how
    return issue(signer, Subject(key.public, "box", roles or (Role.WORKER,)), **given)


def credential(cert: Certificate, issuer: Certificate | None = None) -> Credential:
    return Credential(cert, bind_curve(NODE_KEY, bytes(32), 1, NOW_S), issuer)


def judge(shown: Credential, now_s: int = NOW_S, revoked: tuple[str, ...] = ()) -> None:
    verify_credential(
        shown,
        mesh=MESH,
        mesh_key=MESH_KEY.public,
        now_s=now_s,
        revoked=tuple(NodeId(node) for node in revoked),
    )


def signed(cert: Certificate, key: SigningKey, **changes: Any) -> Certificate:
    bent = msgspec.structs.replace(cert, **changes)
    return msgspec.structs.replace(bent, signature=key.sign(certificate_bytes(bent)))


AUTHORITY = certificate(ISSUER_KEY, Role.ISSUER)
BY_ISSUER = certificate(signer=ISSUER_KEY, authority=AUTHORITY)


def test_a_certificate_by_the_mesh_key_is_believed() -> None:
    judge(credential(certificate()))


def test_a_certificate_by_an_issuer_is_believed() -> None:
    judge(credential(BY_ISSUER, AUTHORITY))


def test_an_issued_certificate_never_outlives_its_issuers() -> None:
    late = certificate(signer=ISSUER_KEY, authority=AUTHORITY, now_s=NOW_S + 60 * DAY_S)
    assert late.expires_s == AUTHORITY.expires_s


@pytest.mark.parametrize("role", PRIVILEGED)
def test_an_issuer_cannot_grant_a_privileged_role(role: Role) -> None:
    with pytest.raises(JoinRefused, match="may not grant"):
        certificate(NODE_KEY, role, signer=ISSUER_KEY, authority=AUTHORITY)
    forged = signed(BY_ISSUER, ISSUER_KEY, roles=(role,))
    with pytest.raises(JoinRefused, match="may not grant"):
        judge(credential(forged, AUTHORITY))


def test_a_member_without_the_role_cannot_issue() -> None:
    plain = certificate(ISSUER_KEY, Role.WORKER)
    with pytest.raises(JoinRefused, match="does not hold the issuing role"):
        judge(credential(signed(BY_ISSUER, ISSUER_KEY), plain))


def test_an_issuer_appointed_by_another_issuer_is_refused() -> None:
    second = SigningKey(bytes([4]) * 32)
    chained = signed(certificate(second, Role.ISSUER), ISSUER_KEY, issuer=ISSUER_KEY.id)
    leaf = signed(BY_ISSUER, second, issuer=second.id)
    with pytest.raises(JoinRefused, match="not appointed"):
        judge(credential(leaf, chained))


def test_a_certificate_without_its_issuers_is_refused() -> None:
    with pytest.raises(BadSignature, match="without that of its issuer"):
        judge(credential(BY_ISSUER))


def test_a_certificate_with_another_issuers_is_refused() -> None:
    with pytest.raises(BadSignature, match="another node"):
        judge(credential(BY_ISSUER, certificate(NODE_KEY, Role.ISSUER)))


def test_a_certificate_of_a_revoked_issuer_is_refused() -> None:
    with pytest.raises(JoinRefused, match=r"issuer box .* is revoked"):
        judge(credential(BY_ISSUER, AUTHORITY), revoked=(AUTHORITY.node,))


def test_a_certificate_longer_than_its_issuers_is_refused() -> None:
    long = signed(BY_ISSUER, ISSUER_KEY, expires_s=AUTHORITY.expires_s + 1)
    with pytest.raises(JoinRefused, match="outlives"):
        judge(credential(long, AUTHORITY))


@pytest.mark.parametrize(
    "change",
    [
        {"roles": (Role.OWNER,)},
        {"name": "other"},
        {"zone": "other"},
        {"expires_s": NOW_S * 2},
        {"issued_s": NOW_S - 1},
        {"protocol": (1, 9)},
        {"node_key": ISSUER_KEY.public},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
)
def test_a_certificate_with_a_changed_field_is_forged(change: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        judge(credential(msgspec.structs.replace(certificate(), **change)))


@pytest.mark.parametrize("change", [{"name": "a b"}, {"name": ""}, {"zone": "z" * 64}])
def test_an_odd_label_is_malformed_even_when_signed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        judge(credential(signed(certificate(), MESH_KEY, **change)))


def test_a_certificate_for_another_mesh_is_refused() -> None:
    other = MeshId("z" * 26)
    with pytest.raises(JoinRefused, match="is for mesh"):
        judge(credential(certificate(mesh=other)))


def test_an_expired_certificate_is_refused_to_the_second() -> None:
    shown = credential(certificate())
    judge(shown, NOW_S + 90 * DAY_S - 1)
    with pytest.raises(JoinRefused, match="expired 0 s ago"):
        judge(shown, NOW_S + 90 * DAY_S)


def test_a_certificate_of_our_future_is_refused_beyond_a_clocks_error() -> None:
    shown = credential(certificate())
    judge(shown, NOW_S - CLOCK_SKEW_S)
    with pytest.raises(JoinRefused, match="in our future"):
        judge(shown, NOW_S - CLOCK_SKEW_S - 1)


def test_a_curve_key_bound_in_our_future_is_refused() -> None:
    late = bind_curve(NODE_KEY, bytes(32), 1, NOW_S + CLOCK_SKEW_S + 1)
    with pytest.raises(JoinRefused, match="in our future"):
        judge(Credential(certificate(), late))


def test_a_curve_key_bound_by_another_node_is_refused() -> None:
    with pytest.raises(BadSignature):
        judge(Credential(certificate(), bind_curve(ISSUER_KEY, bytes(32), 1, NOW_S)))


def test_a_curve_key_of_another_length_is_malformed() -> None:
    with pytest.raises(Malformed):
        judge(Credential(certificate(), bind_curve(NODE_KEY, bytes(31), 1, NOW_S)))


def test_a_binding_moved_to_another_epoch_is_refused() -> None:
    binding = msgspec.structs.replace(bind_curve(NODE_KEY, bytes(32), 1, NOW_S), epoch=2)
    with pytest.raises(BadSignature):
        judge(Credential(certificate(), binding))


# --- contacts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "contact",
    [
        Contact((), 1, 2),
        Contact(("a",) * 17, 1, 2),
        Contact(("",), 1, 2),
        Contact(("a b",), 1, 2),
        Contact(("a/b",), 1, 2),
        Contact(("[::1]",), 1, 2),
        Contact(("a" * 256,), 1, 2),
        Contact(("a",), 0, 2),
        Contact(("a",), 1, 65_536),
        Contact(("a",), 1, 2, -1),
    ],
)
def test_a_contact_that_cannot_be_dialled_is_malformed(contact: Contact) -> None:
    with pytest.raises(Malformed):
        check_contact(contact)


def test_names_and_both_kinds_of_address_can_be_dialled() -> None:
    check_contact(Contact(("box.example", "192.0.2.1", "fe80::1%eth0"), 1, 65_535, 0))


def test_a_contact_without_hosts_is_nowhere() -> None:
    assert show_contact(Contact((), 1, 2)) == "nowhere"


# --- standing -------------------------------------------------------------------------------------


def test_a_standing_survives_being_kept(town: "Town") -> None:
    standing = town.join("beta").standing
    assert decode_standing(encode_standing(standing)) == standing


def test_a_corrupt_standing_is_named() -> None:
    with pytest.raises(StorageCorrupt, match="trust/standing"):
        decode_standing(b"junk")


def test_a_new_boot_binds_the_curve_key_anew(town: "Town") -> None:
    founder = town.founder
    again = rebind(founder.standing, founder.keys, 7, NOW_S + 5)
    assert again.credential.binding.epoch == 7
    assert again.certificate == founder.standing.certificate


def test_a_founder_that_slept_too_long_wakes_up_as_a_member(town: "Town") -> None:
    late_s = NOW_S + 400 * DAY_S
    again = rebind(town.founder.standing, town.founder.keys, 2, late_s)
    assert again.certificate.expires_s == late_s + 90 * DAY_S


def test_a_standing_of_another_node_key_is_refused(town: "Town") -> None:
    with pytest.raises(ConfigError, match="another node key"):
        rebind(town.founder.standing, town.keys("beta"), 2, NOW_S)


def test_founding_needs_the_mesh_key_a_name_and_a_secret(town: "Town") -> None:
    keys = town.keys("zeta", "zmesh")
    bare = NodeKeys(keys.identity, keys.curve)
    settings = town.settings
    for given, name, secret in (
        (bare, "zeta", bytes(32)),
        (keys, "a/b", bytes(32)),
        (keys, "zeta", bytes(31)),
    ):
        with pytest.raises(ConfigError):
            found_mesh(given, name, "mesh", secret, 1, NOW_S, settings)


def test_renewing_alone_needs_the_mesh_key(town: "Town") -> None:
    with pytest.raises(ConfigError):
        reissue(town.founder.standing.certificate, town.keys("beta"), NOW_S)


def test_a_joiner_does_not_knock_with_an_expired_invite(town: "Town") -> None:
    invitation = decode_invitation(town.founder.invite(lifetime_s=60.0))
    keys, contact = town.keys("beta"), town.contact("beta")
    with pytest.raises(QallowError, match="expired 1 s ago"):
        join_request(invitation, keys, "beta", contact, 1, NOW_S + 61)
