"""Golden bytes of a log; a change needs a new version of the leaf or of the derivation."""

import hashlib

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.base.keys import derive
from qallow_agent.ledger.leaf import Leaf, LeafKind, parse_leaf
from qallow_agent.ledger.log import keys_of, origin_of
from qallow_agent.ledger.merkle import leaf_hash

SEED = bytes(range(32))
DERIVED = "1ba29f7b31c7b8600965755c5b926787893114af90a9ef9933742a43225b7593"
LATTICE = "9e6ddfaab4564e3b4388c5aa9f8559f3e55e4750a0879143c0e6220b9698f72b"
"""SHA-256 of the verifier key, which is 1,800 characters long."""
LEAF = Leaf(
    LeafKind.OVERRIDE,
    NodeId("abcdefghijklmnopqrstuvwxyz"),
    Stamp(1_800_000_000_123, 7),
    1_800_000_000_120_000,
    1_800_000_000_126_000,
    bytes(range(32)),
    b"body",
)
ENTRY = bytes.fromhex(
    "71616c"  # magic
    "01"  # version
    "03"  # kind: override
    "00"
    "0007"  # counter
    "000001a3185c507b"  # milliseconds since 1970
    "00066517289a54c0"  # earliest, microseconds
    "00066517289a6c30"  # latest
    "6162636465666768696a6b6c6d6e6f707172737475767778797a"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "0004"  # bytes of the body
    "47647f95"  # CRC-32
    "626f6479"
)


def test_the_bytes_of_a_leaf() -> None:
    assert LEAF.encode() == ENTRY
    assert parse_leaf(ENTRY) == LEAF


def test_the_hash_of_a_leaf() -> None:
    assert leaf_hash(ENTRY) == hashlib.sha256(b"\x00" + ENTRY).digest()
    assert leaf_hash(ENTRY).hex() == (
        "f24cec093a5cee3062ab6831bf0c60e285be9b3f2213543e13d466bda600310f"
    )


def test_the_name_and_keys_of_a_log() -> None:
    origin = origin_of(MeshId("m" * 26), NodeId("n" * 26))
    assert origin == f"qallow-agent/{'m' * 26}/{'n' * 26}"
    key, lattice = keys_of(SEED, origin)
    assert derive(SEED, "log").hex() == DERIVED
    assert key.encode() == f"{origin}+1b1e8fc9+AYFywNuRal4gIfRghXq+XOOwbAWeDTFgg+rh/sWhBP5D"
    assert hashlib.sha256(lattice.encode().encode()).hexdigest() == LATTICE
