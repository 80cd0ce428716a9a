"""Signed notes, checkpoints, cosignatures: published examples, and everything that is not one."""

import base64

import pytest

from qallow_agent.base.errors import BadSignature, Malformed, TooLarge, WireError
from qallow_agent.base.keys import LatticeKey, SigningKey
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.note import MAX_NOTE_BYTES, Note, Signature, parse_note, verified
from qallow_agent.ledger.signing import (
    KeyKind,
    NoteKey,
    cosign,
    cosigned_at,
    cosigner_key,
    log_key,
    parse_note_key,
    sign_checkpoint,
)

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
QUOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
)
"""Source: the documentation of Go's golang.org/x/mod/sumdb/note."""

GO_CHECKSUMS = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

LOG = SigningKey(b"l" * 32)
WITNESS = SigningKey(b"w" * 32)
LATTICE = LatticeKey(b"q" * 32)
HEAD = Checkpoint("example.com/log", 7, bytes(range(32)))
WHEN_S = 1_679_315_147


def test_a_published_note_verifies() -> None:
    note = parse_note(QUOTE.encode())
    assert [key.name for key in verified(note, [parse_note_key(NEUMANN)])] == ["PeterNeumann"]
    assert note.encode() == QUOTE.encode()


@pytest.mark.parametrize("text", [NEUMANN, GO_CHECKSUMS])
def test_published_keys_are_read_and_written_alike(text: str) -> None:
    key = parse_note_key(text)
    assert (key.kind, key.encode()) == (KeyKind.LOG, text)


def test_a_changed_note_does_not_verify() -> None:
    note = parse_note(QUOTE.replace("problem is", "problem was").encode())
    with pytest.raises(BadSignature):
        verified(note, [parse_note_key(NEUMANN)])


def test_a_note_by_strangers_is_refused() -> None:
    with pytest.raises(BadSignature, match="no key that is known"):
        verified(parse_note(QUOTE.encode()), [parse_note_key(GO_CHECKSUMS)])


def signed(*extra: Signature) -> Note:
    return Note(HEAD.text(), (sign_checkpoint(HEAD, LOG), *extra))


def test_a_log_and_both_kinds_of_cosigners_sign_a_checkpoint() -> None:
    note = signed(
        cosign(HEAD, "example.com/w", WITNESS, WHEN_S),
        cosign(HEAD, "example.com/q", LATTICE, WHEN_S),
    )
    known = [
        log_key(HEAD.origin, LOG),
        cosigner_key("example.com/w", WITNESS),
        cosigner_key("example.com/q", LATTICE),
    ]
    again = parse_note(note.encode())
    assert verified(again, known) == tuple(known)
    assert [cosigned_at(each) for each in again.signatures[1:]] == [WHEN_S, WHEN_S]
    assert parse_checkpoint(again.text) == HEAD


def test_an_ed25519_cosignature_covers_the_published_lines() -> None:
    data = cosign(HEAD, "example.com/w", WITNESS, WHEN_S).data
    text = f"cosignature/v1\ntime {WHEN_S}\n{HEAD.text()}"
    assert data == WHEN_S.to_bytes(8) + WITNESS.sign(text.encode())


def test_a_lattice_cosignature_commits_to_the_cosigners_name() -> None:
    signature = cosign(HEAD, "example.com/q", LATTICE, WHEN_S)
    other = NoteKey("example.com/z", KeyKind.LATTICE_COSIGNER, LATTICE.public)
    with pytest.raises(BadSignature):
        other.verify(HEAD.text(), signature.data)


@pytest.mark.parametrize("key", [WITNESS, LATTICE])
def test_a_cosignature_with_another_time_does_not_verify(key: SigningKey | LatticeKey) -> None:
    data = bytearray(cosign(HEAD, "example.com/w", key, WHEN_S).data)
    data[7] ^= 1
    with pytest.raises(BadSignature):
        cosigner_key("example.com/w", key).verify(HEAD.text(), bytes(data))


def test_a_lattice_key_cosigns_only_checkpoints() -> None:
    data = cosign(HEAD, "example.com/q", LATTICE, WHEN_S).data
    with pytest.raises(BadSignature, match="no checkpoint"):
        cosigner_key("example.com/q", LATTICE).verify("hello\n", data)


@pytest.mark.parametrize("seconds", [-1, 1 << 63])
def test_a_time_out_of_range_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="POSIX"):
        cosign(HEAD, "w", WITNESS, seconds)


def test_one_bad_signature_by_a_known_key_spoils_the_note() -> None:
    key = log_key(HEAD.origin, LOG)
    forged = Signature(key.name, key.key_id, bytes(64))
    with pytest.raises(BadSignature):
        verified(signed(forged), [key])


def test_signatures_by_unknown_keys_are_ignored() -> None:
    key = log_key(HEAD.origin, LOG)
    stranger = Signature("stranger", b"abcd", b"junk")
    namesake = Signature(key.name, b"abcd", b"junk")
    assert verified(signed(stranger, namesake), [key]) == (key,)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"text\n", b"text\n\n", b"text\n\n\xe2\x80\x94 name AAAAAAAA", b"\xff\n\n",
        b"text\n\n- name AAAAAAAA\n", "text\n\n\u2014 name\n".encode(),
        "text\n\n\u2014 name AAAA\n".encode(), "text\n\n\u2014 name !!!!!!!!\n".encode(),
        "text\n\n\u2014 na+me AAAAAAAA\n".encode(), "te\x00xt\n\n\u2014 name AAAAAAAA\n".encode(),
        "text\n\n\u2014  AAAAAAAA\n".encode(),
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_note(data)


def test_caps_come_before_anything_else() -> None:
    with pytest.raises(TooLarge):
        parse_note(b"x" * (MAX_NOTE_BYTES + 1))
    with pytest.raises(TooLarge):
        parse_note(("text\n\n" + "\u2014 name AAAAAAAA\n" * 101).encode())


@pytest.mark.parametrize(
    "text",
    [
        "", "origin\n5\n", "origin\n5\nAAAA\n", "origin\n05\n" + "A" * 43 + "=\n",
        "origin\n-5\n" + "A" * 43 + "=\n", "origin\n5\n" + "A" * 43 + "=",
        "\n5\n" + "A" * 43 + "=\n",
        "origin\n5\n" + "A" * 42 + "B=\n", "origin\n5\n" + "A" * 43 + "=\n\nmore\n",
        "origin\n" + "9" * 19 + "\n" + "A" * 43 + "=\n", "origin\n\u0665\n" + "A" * 43 + "=\n",
        "origin\n" + "9" * 5000 + "\n" + "A" * 43 + "=\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_checkpoint(text)


def test_extension_lines_of_others_are_kept() -> None:
    text = f"origin\n5\n{base64.b64encode(bytes(32)).decode()}\nmore\n"
    assert parse_checkpoint(text).extensions == ("more",)
    assert parse_checkpoint(text).text() == text


@pytest.mark.parametrize(
    "text",
    ["", "a+b", "name+00000000+AQ==", "name+zz+" + NEUMANN.rpartition("+")[2],
     "na me" + NEUMANN[12:], NEUMANN.replace("c74f20a3", "c74f20a4"), "name+00000000+!!",
     "name+00000000+CQ=="],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        parse_note_key(text)
