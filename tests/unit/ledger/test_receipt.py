"""Receipts: one encoding, and files that convince whom they should, whatever is changed in them."""

import base64
from dataclasses import replace as changed

import msgspec
import pytest

from qallow_agent.base.errors import BadProof, BadSignature, Malformed, PeerError, TooLarge
from qallow_agent.base.keys import SigningKey
from qallow_agent.ledger.credence import Finding, Trust, examine
from qallow_agent.ledger.evidence import parse_evidence
from qallow_agent.ledger.leaf import LeafKind, parse_leaf
from qallow_agent.ledger.note import Note, Signature
from qallow_agent.ledger.policy import parse_policy
from qallow_agent.ledger.receipt import MAX_BODY_BYTES, MAX_EXECUTORS, Receipt, pack, unpack
from qallow_agent.ledger.receiptfile import Papers, ReceiptFile, open_receipt, parse_receipt
from qallow_agent.ledger.seats import make_card
from qallow_agent.ledger.signing import log_key
from qallow_agent.testing.receipts import (
    ADMISSION,
    ENERGY,
    IDENTITY,
    LOG,
    MESH,
    NODE,
    ORIGIN,
    entry_of,
    example,
    file_of,
)

RECEIPT = example()
ENTRY = entry_of(RECEIPT)
KEY = Trust(keys=(log_key(ORIGIN, LOG),))
replace = msgspec.structs.replace


def found(file: ReceiptFile, trust: Trust = KEY) -> Finding:
    return examine(parse_receipt(file.encode()), trust)


# --- the body -------------------------------------------------------------------------------------


def test_a_receipt_is_what_its_bytes_say() -> None:
    assert unpack(pack(RECEIPT)) == RECEIPT
    assert unpack(pack(example(0))) == example(0)


def test_a_receipt_of_very_many_devices_says_how_many_it_leaves_out() -> None:
    body = pack(example(MAX_EXECUTORS + 100))
    assert len(body) <= MAX_BODY_BYTES
    receipt = unpack(body)
    assert 100 < len(receipt.executors) <= MAX_EXECUTORS
    assert receipt.left_out == MAX_EXECUTORS + 100 - len(receipt.executors)


def test_long_texts_do_not_make_a_leaf_too_long() -> None:
    long = replace(ENERGY, provenance="unknown", why="w" * 200)
    many = tuple(
        replace(each, energy=long, place="p" * 200, admission=ADMISSION)
        for each in example(MAX_EXECUTORS).executors
    )
    body = pack(replace(example(), executors=many))
    assert len(body) <= MAX_BODY_BYTES
    assert unpack(body).left_out > 0


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"points": -1},
        {"points": 1 << 63},
        {"inputs": b"short"},
        {"outputs": b"x" * 33},
        {"end": "running"},
        {"ended_ms": 1},
        {"job": "j" * 201},
        {"energy": replace(ENERGY, low_uj=9_999_999)},
        {"executors": (replace(RECEIPT.executors[0], admission=replace(ADMISSION, e=2_969)),)},
        {"executors": RECEIPT.executors * 65},
    ],
)
def test_what_makes_no_sense_is_no_receipt(change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        unpack(msgspec.msgpack.encode(replace(RECEIPT, **change)))


def test_another_spelling_of_a_receipt_is_none() -> None:
    body = pack(RECEIPT)
    assert body[3] == 1  # the version, behind the length of the array
    for other in (body[:3] + b"\xcc\x01" + body[4:], body + b"\x00", body[:-1], b"\xc0", b""):
        with pytest.raises(Malformed):
            unpack(other)
    with pytest.raises(TooLarge):
        unpack(bytes(MAX_BODY_BYTES + 1))


# --- the file -------------------------------------------------------------------------------------


def test_a_key_of_the_log_convinces_a_stranger() -> None:
    finding = found(file_of(ENTRY))
    assert finding.receipt == RECEIPT
    assert (finding.index, finding.head.size, finding.mesh) == (1, 2, MESH)
    assert finding.signed
    assert finding.trusted
    assert finding.vouched
    assert finding.certified_by == ()


def test_the_id_of_the_node_is_enough_since_it_vouches_for_its_log() -> None:
    assert found(file_of(ENTRY), Trust(node=NODE)).trusted
    assert not found(file_of(ENTRY, named=False), Trust(node=NODE)).trusted


def test_the_id_of_the_mesh_is_enough_once_a_quorum_has_certified() -> None:
    finding = found(file_of(ENTRY, cosigners=3), Trust(mesh=MESH))
    assert finding.trusted
    assert (len(finding.certified_by), finding.members, finding.standing) == (3, 4, "f = 1")
    assert finding.strangers == ()
    assert not found(file_of(ENTRY), Trust(mesh=MESH)).trusted


def test_nothing_is_trusted_that_only_the_file_itself_names() -> None:
    finding = found(file_of(ENTRY, cosigners=4), Trust())
    assert finding.vouched
    assert not finding.trusted


def test_a_policy_says_how_many_witnesses_it_takes() -> None:
    file = file_of(ENTRY, cosigners=2 + 1)
    committee = file.papers.committee
    assert committee is not None
    keys = [each.encode() for each in committee.manifest.cosigners("witnessed").values()]
    lines = [f"log {log_key(ORIGIN, LOG).encode()}"]
    lines += [f"witness w{number} {key}" for number, key in enumerate(keys)]
    for least, enough in ((3, True), (4, False)):
        group = f"group g {least} {' '.join(f'w{n}' for n in range(4))}"
        policy = parse_policy("\n".join([*lines, group, "quorum g"]))
        if enough:
            finding = found(file, Trust(policy=policy))
            assert finding.trusted
            assert len(finding.cosigned_by) == 3
            assert finding.asked == "g"
        else:
            with pytest.raises(BadSignature, match="the policy asks for"):
                found(file, Trust(policy=policy))


def test_too_few_of_a_committee_make_no_certificate() -> None:
    with pytest.raises(BadSignature, match="too few"):
        found(file_of(ENTRY, cosigners=2))


def test_another_log_node_or_mesh_is_named() -> None:
    stranger = SigningKey(b"x" * 32)
    for trust, reason in (
        (Trust(keys=(log_key("other/log", LOG),)), "the key of other/log"),
        (Trust(keys=(log_key(ORIGIN, stranger),)), "no key that is known"),
        (Trust(node="a" * 26), f"not of {'a' * 26}"),
        (Trust(mesh="b" * 26), f"not of {'b' * 26}"),
    ):
        with pytest.raises((BadSignature, BadProof), match=reason):
            found(file_of(ENTRY), trust)


def test_a_trusted_key_of_another_log_may_not_sign_for_this_one() -> None:
    file, other = file_of(ENTRY, named=False), SigningKey(b"o" * 32)
    key = log_key("other/log", other)
    signature = Signature(key.name, key.key_id, other.sign(file.head.text.encode()))
    forged = changed(file, head=Note(file.head.text, (signature,)))
    with pytest.raises(BadSignature, match="no key that is known"):
        found(forged, Trust(keys=(*KEY.keys, key)))


def test_a_card_by_another_identity_is_refused() -> None:
    file = file_of(ENTRY)
    forged = make_card(MESH, SigningKey(b"z" * 32), LOG.public)
    papers = Papers(file.papers.keys, forged, None)
    with pytest.raises(BadSignature, match="the card is of the log"):
        found(ReceiptFile(file.entry, file.index, file.proof, file.head, papers))
    stolen = make_card(MESH, IDENTITY, SigningKey(b"s" * 32).public)
    papers = Papers(file.papers.keys, stolen, None)
    with pytest.raises(BadSignature, match="no key that is known"):
        found(ReceiptFile(file.entry, file.index, file.proof, file.head, papers))


def test_an_entry_of_another_kind_or_node_is_no_receipt() -> None:
    leaf = parse_leaf(ENTRY)
    for other, reason in (
        (changed(leaf, kind=LeafKind.POLICY), "of kind policy"),
        (changed(leaf, node=NODE[::-1]), "stands in a leaf of"),
        (changed(leaf, earliest_us=0, latest_us=0), "before its job ended"),
        (changed(leaf, body=b"\x90"), "does not decode"),
    ):
        with pytest.raises(Malformed, match=reason):
            open_receipt(other.encode())


# --- tampering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in Receipt.__struct_fields__ if n != "version"])
def test_a_changed_field_does_not_fit_the_proof(name: str) -> None:
    value = getattr(RECEIPT, name)
    other: object = {
        "end": "failed", "inputs": b"", "outputs": b"x" * 32, "submitted_ms": 1,
        "energy": replace(ENERGY, gross_uj=1_250_000),
    }.get(name)  # fmt: skip
    if other is None:
        other = (
            value + 1 if isinstance(value, int) else f"{value}x" if isinstance(value, str) else ()
        )
    lie = replace(RECEIPT, **{name: other})
    assert lie != RECEIPT
    file = file_of(ENTRY)
    with pytest.raises(PeerError):
        found(ReceiptFile(entry_of(lie), file.index, file.proof, file.head, file.papers))


def outcome(data: bytes) -> Finding | PeerError:
    try:
        return examine(parse_receipt(data), KEY)
    except PeerError as error:
        return error


def test_any_changed_byte_of_the_file_is_refused_for_a_reason() -> None:
    data = file_of(ENTRY, cosigners=3).encode()
    reasons: set[str] = set()
    for place in range(0, len(data), 7):
        for flip in (0x01, 0x20):
            spoilt = bytearray(data)
            spoilt[place] ^= flip
            found = outcome(bytes(spoilt))
            if isinstance(found, PeerError):
                reasons.add(type(found).__name__)
                continue
            # Only the name or key id of a cosignature may change: then it is a stranger's.
            assert found.receipt == RECEIPT
            assert found.strangers
    assert {"BadSignature", "Malformed"} <= reasons


def test_any_changed_byte_of_the_entry_is_refused_even_with_a_new_file_around_it() -> None:
    file = file_of(ENTRY)
    for place in range(len(ENTRY)):
        spoilt = bytearray(ENTRY)
        spoilt[place] ^= 1
        with pytest.raises(PeerError):
            found(ReceiptFile(bytes(spoilt), file.index, file.proof, file.head, file.papers))


def test_proofs_indexes_and_heads_cannot_be_exchanged() -> None:
    file = file_of(ENTRY)
    other = file_of(entry_of(example(1)))
    for forged, kind in (
        (ReceiptFile(ENTRY, 0, file.proof, file.head, file.papers), BadProof),
        (ReceiptFile(ENTRY, 2, file.proof, file.head, file.papers), BadProof),
        (ReceiptFile(ENTRY, 1, (), file.head, file.papers), BadProof),
        (ReceiptFile(ENTRY, 1, (b"x" * 32,), file.head, file.papers), BadProof),
        (ReceiptFile(ENTRY, 1, file.proof, other.head, file.papers), BadProof),
    ):
        with pytest.raises(kind):
            found(forged)


def test_a_proof_without_a_receipt_says_how_to_get_one() -> None:
    lines = file_of(ENTRY).encode().decode().split("\n")
    for extra in (b"something else", b"qallow/receipt/v1\x00\xc0"):
        text = "\n".join([lines[0], f"extra {base64.b64encode(extra).decode()}", *lines[2:]])
        assert parse_evidence(text.encode()).index == 1
        with pytest.raises(Malformed):
            parse_receipt(text.encode())
