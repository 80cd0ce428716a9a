"""Proof files and trust policies: what convinces a stranger, and what does not."""

import pytest

from qallow_agent.base.errors import BadProof, BadSignature, ConfigError, PeerError, TooLarge
from qallow_agent.base.keys import LatticeKey, SigningKey
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.evidence import (
    MAX_EVIDENCE_BYTES,
    Evidence,
    parse_evidence,
)
from qallow_agent.ledger.merkle import leaf_hash, node_hash
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.policy import parse_policy
from qallow_agent.ledger.signing import cosign, cosigner_key, log_key, sign_checkpoint

ORIGIN = "example.com/log"
LOG = SigningKey(b"l" * 32)
WITNESSES = {name: SigningKey(name.encode() * 16) for name in ("w1", "w2", "w3")}
LATTICE = LatticeKey(b"q" * 32)
ENTRY = b"a receipt"
SIBLING = leaf_hash(b"another")
HEAD = Checkpoint(ORIGIN, 2, node_hash(SIBLING, leaf_hash(ENTRY)))
WHEN_S = 1_700_000_000


def policy_text(quorum: str) -> str:
    lines = [f"log {log_key(ORIGIN, LOG).encode()} https://example.com/log", "", "# comment"]
    lines += [
        f"witness {name}\t{cosigner_key(name, key).encode()}" for name, key in WITNESSES.items()
    ]
    lines.append(f"witness lattice {cosigner_key('lattice', LATTICE).encode()}")
    lines += ["group some 2 w1 w2 w3", "group both all some lattice", f"quorum {quorum}"]
    return "\n".join(lines) + "\n"


def evidence(*cosigners: str, lattice: bool = False) -> Evidence:
    signatures = [sign_checkpoint(HEAD, LOG)]
    signatures += [cosign(HEAD, name, WITNESSES[name], WHEN_S) for name in cosigners]
    if lattice:
        signatures.append(cosign(HEAD, "lattice", LATTICE, WHEN_S))
    return Evidence(1, (SIBLING,), Note(HEAD.text(), tuple(signatures)), b"extra")


def test_evidence_convinces_who_has_only_the_policy() -> None:
    data = evidence("w1", "w3", lattice=True).encode()
    given = parse_evidence(data)
    parse_policy(policy_text("both")).check(given.head)
    assert given.prove(ENTRY) == HEAD
    assert parse_evidence(data).encode() == data


def test_evidence_has_the_published_form() -> None:
    lines = evidence().encode().decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXh0cmE=", "index 1"]
    assert lines[4:6] == ["", ORIGIN]


@pytest.mark.parametrize(
    ("quorum", "cosigners", "lattice", "enough"),
    [
        ("none", (), False, True), ("w1", ("w1",), False, True), ("w1", ("w2",), False, False),
        ("some", ("w1",), False, False), ("some", ("w1", "w2"), False, True),
        ("both", ("w1", "w2"), False, False), ("both", ("w1",), True, False),
    ],
)  # fmt: skip
def test_a_policy_counts_its_witnesses(
    quorum: str, cosigners: tuple[str, ...], *, lattice: bool, enough: bool
) -> None:
    policy = parse_policy(policy_text(quorum))
    given = evidence(*cosigners, lattice=lattice)
    if enough:
        policy.check(given.head)
    else:
        with pytest.raises(BadSignature, match="the policy asks for"):
            policy.check(given.head)


def test_another_entry_is_not_proved() -> None:
    with pytest.raises(BadProof):
        evidence().prove(b"another receipt")


def test_an_entry_beyond_the_head_is_not_proved() -> None:
    beyond = Evidence(2, (SIBLING,), evidence().head)
    with pytest.raises(BadProof, match="covers 2 entries"):
        beyond.prove(ENTRY)


def test_a_log_may_not_speak_for_another() -> None:
    other = SigningKey(b"o" * 32)
    text = f"log {log_key('other', other).encode()}\nlog {log_key(ORIGIN, LOG).encode()}\n"
    head = Note(HEAD.text(), (sign_checkpoint(Checkpoint("other", 2, HEAD.root), other),))
    with pytest.raises(BadSignature):
        parse_policy(text + "quorum none\n").check(head)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"c2sp.org/tlog-proof@v2\nindex 1\n\n", b"c2sp.org/tlog-proof@v1\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 01\n\nx", b"c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx", b"\xff\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\n" + b"A" * 43 + b"=\n" * 64 + b"\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 1\n\nno note",
    ],
)  # fmt: skip
def test_what_is_no_evidence_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        parse_evidence(data)


def test_evidence_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        parse_evidence(b"x" * (MAX_EVIDENCE_BYTES + 1))


KEY = cosigner_key("w", SigningKey(b"x" * 32)).encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no quorum"), ("quorum\n", "one quorum line"), ("quorum x\n", "defined nowhere"),
        ("quorum none\nquorum none\n", "one quorum line"), ("nonsense\n", "line 1 .*none of log"),
        (f"witness none {KEY}\nquorum none\n", "is taken"),
        (f"witness a {KEY}\nwitness b {KEY}\nquorum a\n", "line 2 .*is there already"),
        (f"witness a {KEY}\ngroup g 2 a\nquorum g\n", "makes no sense"),
        (f"witness a {KEY}\ngroup g 0 a\nquorum g\n", "makes no sense"),
        (f"witness a {KEY}\ngroup g any a\ngroup h any a\nquorum g\n", "in a group already"),
        (f"witness a {KEY}\ngroup g any\nquorum g\n", "needs a name"),
        (f"log {KEY}\nquorum none\n", "this is a cosigner's"),
        (f"witness a {log_key('l', LOG).encode()}\nquorum a\n", "this is a log's"),
        ("witness a\nquorum a\n", "a key is missing"),
        ("log x+y\nquorum none\n", "no verifier key"),
        (f"witness a {KEY} url more\nquorum a\n", "more words"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_explained(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_policy(text)
