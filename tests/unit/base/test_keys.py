import pytest

from qallow_agent.base.canonical import canonical, digest
from qallow_agent.base.errors import BadSignature
from qallow_agent.base.ids import key_id
from qallow_agent.base.keys import CurveKey, NodeKeys, SigningKey, verify, z85

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_rfc_8032() -> None:
    key = SigningKey(SEED)
    assert key.public == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    verify(PUBLIC, b"\x72", SIGNATURE)


def test_an_identity_follows_from_the_public_key() -> None:
    assert SigningKey(SEED).id == key_id(PUBLIC)


@pytest.mark.parametrize(
    ("key", "data", "signature"),
    [
        (PUBLIC, b"\x73", SIGNATURE),
        (PUBLIC, b"\x72", SIGNATURE[:-1]),
        (PUBLIC, b"\x72", b""),
        (PUBLIC[:-1], b"\x72", SIGNATURE),
        (b"", b"\x72", SIGNATURE),
        (bytes(32), b"\x72", SIGNATURE),
    ],
)
def test_anything_but_the_right_key_and_data_is_a_bad_signature(
    key: bytes, data: bytes, signature: bytes
) -> None:
    with pytest.raises(BadSignature):
        verify(key, data, signature)


def test_a_curve_key_is_x25519() -> None:
    # RFC 7748, section 5.2: the first iteration, where key and base point are both nine.
    public = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert CurveKey(bytes([9]) + bytes(31)).public.hex() == public


def test_z85_is_that_of_zeromq_rfc_32() -> None:
    # RFC 32's test string has eight bytes; ours extends it to the length of a key.
    data = bytes.fromhex("864fd26fb559f75b") * 4
    assert z85(data) == b"HelloWorld" * 4
    assert len(z85(bytes(range(32)))) == 40


def test_secrets_stay_out_of_every_repr() -> None:
    keys = NodeKeys(SigningKey(SEED), CurveKey(SEED), SigningKey(SEED))
    assert SEED.hex() not in repr(keys)
    assert repr(SEED) not in repr(keys)
    assert repr(keys.identity) == "SigningKey()"


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical("d", {"b": 1, "a": 2}) == canonical("d", {"a": 2, "b": 1})
    assert canonical("d", {"a": 1}) == b"d\x00\x81\xa1a\x01"


def test_a_signature_of_one_domain_is_not_one_of_another() -> None:
    assert canonical("one", 1) != canonical("two", 1)
    assert digest("one", b"x") != digest("two", b"x")
