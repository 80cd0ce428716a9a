"""A receipt as a file: a C2SP tlog-proof whose extra line carries the entry itself.

Whoever has the file and a key of the log (or a policy) needs nothing else. The extra line holds,
after a name and a zero byte, MessagePack of the entry, the keys that the log says are its own, and
the manifest of the committee whose cosignatures are there. Keys and manifest prove nothing by
themselves: they are what a reader compares with what it trusts.

Source: C2SP tlog-proof v1.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from qallow_agent.base.errors import BadProof, BadSignature, Malformed
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.evidence import Evidence, parse_evidence
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import Note, verified
from qallow_agent.ledger.policy import NONE, TrustPolicy
from qallow_agent.ledger.proofs import verify_inclusion
from qallow_agent.ledger.receipt import Receipt, unpack
from qallow_agent.ledger.signing import KeyKind, NoteKey, parse_note_key

_NAME: Final = b"qallow/receipt/v1\x00"
_MOST_KEYS: Final = 8
_SLACK_US: Final = 10_000_000
"""A receipt is written some seconds after its job ended, and clocks are set now and then."""


class _Extra(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    entry: bytes
    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_KEYS)]
    manifest: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Extra)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """Everything that is needed to check a receipt.

    Args:
        entry: The leaf's bytes.
        index: Its place in the log.
        proof: Its siblings on the way to the root.
        head: The log's checkpoint with all its signatures.
        keys: Keys that the log says are its own.
        manifest: The committee's, when its cosignatures are there; empty otherwise.
    """

    entry: bytes
    index: int
    proof: tuple[bytes, ...]
    head: Note
    keys: tuple[str, ...] = ()
    manifest: bytes = b""

    def encode(self) -> bytes:
        """Return the file's bytes."""
        extra = _NAME + _ENCODER.encode(_Extra(self.entry, self.keys, self.manifest))
        return Evidence(self.index, self.proof, self.head, extra).encode()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file proves, to somebody who trusts some keys.

    Args:
        receipt: The receipt.
        leaf: The entry it stands in.
        index: The entry's place in the log.
        head: The head that covers it.
        signed_by: Keys of the log that signed the head and are trusted.
        cosigned_by: Witnesses that cosigned it and are trusted, by the policy's names.
        asked: What the policy asks of witnesses, in words; empty for nothing.
        strangers: Names of signatures by keys that nobody here knows.
    """

    receipt: Receipt
    leaf: Leaf
    index: int
    head: Checkpoint
    signed_by: tuple[str, ...]
    cosigned_by: tuple[str, ...]
    asked: str
    strangers: tuple[str, ...]


def parse_receipt(data: bytes) -> ReceiptFile:
    """Return what a file says; nothing of it is proved yet.

    Raises:
        TooLarge: It exceeds the caps.
        Malformed: It is no such file.
    """
    evidence = parse_evidence(data)
    if not evidence.extra.startswith(_NAME):
        raise Malformed("the proof carries no receipt", hint="'receipt show JOB -o FILE' makes one")
    body = evidence.extra.removeprefix(_NAME)
    try:
        extra = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"what the proof carries does not decode: {error}") from error
    found = ReceiptFile(
        extra.entry, evidence.index, evidence.proof, evidence.head, extra.keys, extra.manifest
    )
    if found.encode() != data:
        raise Malformed("the file is not in its one spelling")
    return found


def open_receipt(entry: bytes) -> tuple[Leaf, Receipt]:
    """Return the leaf and the receipt that an entry holds, checked against one another.

    Raises:
        Malformed: It is no receipt, or contradicts its leaf.
    """
    leaf = parse_leaf(entry)
    if leaf.kind is not LeafKind.RECEIPT:
        raise Malformed(f"the entry is no receipt; it is of kind {leaf.kind.name.lower()}")
    receipt = unpack(leaf.body)
    if receipt.node != leaf.node:
        raise Malformed(f"a receipt of {receipt.node} stands in a leaf of {leaf.node}")
    if receipt.ended_ms * 1_000 > leaf.latest_us + _SLACK_US:
        raise Malformed("a receipt was written before its job ended")
    return leaf, receipt


def examine(file: ReceiptFile, keys: tuple[NoteKey, ...], policy: TrustPolicy | None) -> Finding:
    """Return what a file proves to somebody who trusts some keys, or a policy, or both.

    Args:
        file: What is to be proved.
        keys: Keys of logs, any of which must have signed; none to rely on the policy.
        policy: Which logs, and how many of which witnesses, are trusted.

    Raises:
        BadSignature: The head is not signed by what is trusted.
        BadProof: The head does not cover the entry, or is another log's.
        Malformed: The entry is no receipt.
    """
    head = parse_checkpoint(file.head.text)
    leaf, receipt = open_receipt(file.entry)
    if file.index >= head.size:
        raise BadProof(f"the head covers {head.size} entries, not entry {file.index}")
    verify_inclusion(leaf_hash(file.entry), file.index, head.size, file.proof, head.root)
    if head.origin.rpartition("/")[2] != leaf.node:
        raise BadProof(f"the head is of the log {head.origin}, the receipt of node {leaf.node}")
    signed: list[str] = []
    cosigned: list[str] = []
    known: list[NoteKey] = list(keys)
    if keys:
        if not any(each.name == head.origin for each in keys):
            raise BadSignature(
                f"the head is of the log {head.origin}, the key of {keys[0].name}",
                hint="give the key of the log in which the receipt stands",
            )
        signers = verified(file.head, keys)
        signed += [each.encode() for each in keys if each in signers]
    if policy is not None:
        policy.check(file.head)
        known += [*policy.logs, *policy.witnesses.values()]
        signers = verified(file.head, known)
        signed += [each.encode() for each in policy.logs if each in signers]
        cosigned += [name for name, each in policy.witnesses.items() if each in signers]
    trusted = {(each.name, each.key_id) for each in known}
    strangers = [
        each.name for each in file.head.signatures if (each.name, each.key_id) not in trusted
    ]
    return Finding(
        receipt,
        leaf,
        file.index,
        head,
        tuple(dict.fromkeys(signed)),
        tuple(cosigned),
        "" if policy is None or policy.quorum == NONE else policy.quorum,
        tuple(dict.fromkeys(strangers)),
    )


def own_keys(file: ReceiptFile) -> tuple[NoteKey, ...]:
    """Return the keys of the log that a file names itself, which proves nothing by itself.

    Raises:
        Malformed: They are no keys, or of another log.
    """
    origin = parse_checkpoint(file.head.text).origin
    keys = tuple(parse_note_key(each) for each in file.keys)
    if any(each.name != origin for each in keys):
        raise Malformed("the file names keys of another log")
    return tuple(each for each in keys if each.kind is KeyKind.LOG)
