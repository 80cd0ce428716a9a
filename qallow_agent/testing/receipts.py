"""Receipts made from nothing: a log of a few entries, a committee that certifies it, a file."""

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId, key_id
from qallow_agent.base.keys import LatticeKey, SigningKey
from qallow_agent.ledger.checkpoint import Checkpoint
from qallow_agent.ledger.leaf import NO_POLICY, Leaf, LeafKind
from qallow_agent.ledger.log import origin_of
from qallow_agent.ledger.manifest import propose
from qallow_agent.ledger.merkle import leaf_hash, node_hash
from qallow_agent.ledger.note import Note
from qallow_agent.ledger.receipt import (
    VERSION,
    Admission,
    Column,
    Energy,
    Executor,
    Receipt,
    pack,
)
from qallow_agent.ledger.receiptfile import Committee, Papers, ReceiptFile
from qallow_agent.ledger.seats import WITNESSED, KeyFor, keys_from, make_card, make_seat
from qallow_agent.ledger.signing import cosign, cosigner_key, log_key, sign_checkpoint

MESH_KEY = SigningKey(b"m" * 32)
MESH = MeshId(key_id(MESH_KEY.public))
IDENTITY = SigningKey(b"i" * 32)
NODE = NodeId(key_id(IDENTITY.public))
ORIGIN = origin_of(MESH, NODE)
LOG = SigningKey(b"l" * 32)
LATTICE = LatticeKey(b"q" * 32)
WHEN_MS = 1_750_000_000_000
MEMBERS = tuple(SigningKey(bytes([65 + number]) * 32) for number in range(4))
"""Identity keys of a committee."""

ENERGY = Energy(2_500_000, 1_250_000, 1_000_000, 3_000_000, "measured", "")
ADMISSION = Admission(
    970, 1_000, 1_000, 2_970, ("s2", "c1", "h1"), b"e" * 32, b"p" * 32, ORIGIN, 17
)


def example(devices: int = 2, **changes: object) -> Receipt:
    """Return a receipt of some devices with something in every field."""
    fields: dict[str, object] = {
        "version": VERSION, "job": "job-gamhuux2bkzrgjky", "node": NODE, "kernel": "harmonic",
        "kernel_hash": "ab" * 32, "inputs": bytes(range(32)), "outputs": bytes(range(32, 64)),
        "columns": (Column("stable", "b1", ()), Column("tick", "i8", (1,))), "end": "succeeded",
        "points": 1_000, "done": 990, "failed": 10, "rerun": 3, "submitted_ms": WHEN_MS,
        "ended_ms": WHEN_MS + 4_000, "bound_ms": 12,
        "energy": Energy(5_000_000, 2_500_000, 2_000_000, 6_000_000, "measured", ""),
        "executors": tuple(
            Executor(NODE, f"box{n}/cpu0", 500, 10**9, 2_000_000, ENERGY, None if n else ADMISSION)
            for n in range(devices)
        ),
        "left_out": 0, "flags": ("incoherent",), "replicas": 3, "validators": ("bob", "eve"),
    }  # fmt: skip
    return Receipt(**(fields | changes))  # type: ignore[arg-type]  # as the caller says


def entry_of(receipt: Receipt) -> bytes:
    """Return the leaf that holds a receipt, written just after its job ended."""
    end_us = receipt.ended_ms * 1_000
    return Leaf(
        LeafKind.RECEIPT, NODE, Stamp(receipt.ended_ms, 0), end_us, end_us + 2_000, NO_POLICY,
        pack(receipt),
    ).encode()  # fmt: skip


def file_of(entry: bytes, *, cosigners: int = 0, named: bool = True) -> ReceiptFile:
    """Return the file of an entry that stands second in a log of two.

    Args:
        entry: The entry.
        cosigners: How many of a committee of four certify it; 0 for no committee at all.
        named: Whether the file carries the log's keys and the node's card.
    """
    sibling = leaf_hash(b"another")
    head = Checkpoint(ORIGIN, 2, node_hash(sibling, leaf_hash(entry)))
    signatures = [sign_checkpoint(head, LOG), cosign(head, ORIGIN, LATTICE, WHEN_MS // 1_000)]
    committee = None
    if cosigners:
        key_fors = [_keys_of(each) for each in MEMBERS]
        seats = [make_seat(MESH, 1, each, k) for each, k in zip(MEMBERS, key_fors, strict=True)]
        manifest = propose(MESH_KEY, MESH, None, seats)
        for seat, key_for in list(zip(seats, key_fors, strict=True))[:cosigners]:
            name = seat.cosigner(WITNESSED).name
            key = key_for(f"{WITNESSED}/1")
            signatures.append(cosign(head, name, key, WHEN_MS // 1_000))
        committee = Committee(MESH_KEY.public, manifest)
    keys = (log_key(ORIGIN, LOG).encode(), cosigner_key(ORIGIN, LATTICE).encode())
    card = make_card(MESH, IDENTITY, LOG.public)
    papers = Papers(keys, card, committee) if named else Papers((), None, committee)
    return ReceiptFile(entry, 1, (sibling,), Note(head.text(), tuple(signatures)), papers)


def _keys_of(identity: SigningKey) -> KeyFor:
    return keys_from(identity.public)
