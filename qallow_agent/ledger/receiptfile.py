"""A receipt as a file: a C2SP tlog-proof whose extra line carries the entry itself.

The extra line holds, after a name and a zero byte, MessagePack of the entry and of what a reader
may compare with what it trusts: the keys that the log says are its own, the card by which its node
vouches for them, and the committee whose cosignatures are there, with the mesh key that made it.

Source: C2SP tlog-proof v1.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.evidence import Evidence, parse_evidence
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.receipt import Receipt, unpack
from qallow_agent.ledger.seats import Card

_NAME: Final = b"qallow/receipt/v1\x00"
_MOST_KEYS: Final = 8
_SLACK_US: Final = 10_000_000
"""A receipt is written some seconds after its job ended, and clocks are set now and then."""


class Committee(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who witnesses, and the public key of the mesh by which the manifest is signed."""

    mesh_key: bytes
    manifest: Manifest


class Papers(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a reader compares with what it trusts; it proves nothing by itself.

    Args:
        keys: Keys that the log says are its own.
        card: The node's word for the log's key; None when there is none.
        committee: Whose cosignatures are there; None when nobody's are.
    """

    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_KEYS)] = ()
    card: Card | None = None
    committee: Committee | None = None


class _Extra(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    entry: bytes
    papers: Papers


_ENCODER = msgspec.msgpack.Encoder(order="sorted")
_DECODER = msgspec.msgpack.Decoder(_Extra)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """Everything that is needed to check a receipt.

    Args:
        entry: The leaf's bytes.
        index: Its place in the log.
        proof: Its siblings on the way to the root.
        head: The log's checkpoint with all its signatures.
        papers: What a reader compares with what it trusts.
    """

    entry: bytes
    index: int
    proof: tuple[bytes, ...]
    head: Note
    papers: Papers

    def encode(self) -> bytes:
        """Return the file's bytes."""
        extra = _NAME + _ENCODER.encode(_Extra(self.entry, self.papers))
        return Evidence(self.index, self.proof, self.head, extra).encode()


def parse_receipt(data: bytes) -> ReceiptFile:
    """Return what a file says; nothing of it is proved yet.

    Raises:
        TooLarge: It exceeds the caps.
        Malformed: It is no such file, or not in its one spelling.
    """
    evidence = parse_evidence(data)
    if not evidence.extra.startswith(_NAME):
        raise Malformed("the proof carries no receipt", hint="'receipt show JOB -o FILE' makes one")
    try:
        extra = _DECODER.decode(evidence.extra.removeprefix(_NAME))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"what the proof carries does not decode: {error}") from error
    found = ReceiptFile(extra.entry, evidence.index, evidence.proof, evidence.head, extra.papers)
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
