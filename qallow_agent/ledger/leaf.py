"""A leaf: one entry of a log as canonical bytes, a header of fixed width and an opaque body.

    offset  bytes  what, integers big-endian
         0      3  "qal"
         3      1  version: 1
         4      1  kind
         5      1  zero
         6      2  hybrid logical clock: counter
         8      8  hybrid logical clock: milliseconds since 1970
        16      8  earliest time it can have been, microseconds since 1970
        24      8  latest time
        32     26  node id
        58     32  digest of the policy in force; zeroes for none
        90      2  bytes of the body
        92      4  CRC-32 of everything else, by which a torn tail is told from a whole entry
        96         body

No JSON and no floats, so that one fact has one encoding.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from qallow_agent.base.errors import Malformed
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import ID_LENGTH, NodeId
from qallow_agent.ledger.tiles import MAX_ENTRY_BYTES

MAGIC = b"qal"
VERSION = 1
DIGEST_BYTES = 32
NO_POLICY = bytes(DIGEST_BYTES)
NEVER_US = (1 << 63) - 1
"""The latest time of a clock that nobody vouches for."""

_HEAD = struct.Struct(f">3sBBBHQQQ{ID_LENGTH}s{DIGEST_BYTES}sH")
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEAD.size + _CRC.size
MAX_BODY_BYTES = MAX_ENTRY_BYTES - HEADER_BYTES

_ID_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz234567")


class LeafKind(IntEnum):
    """What a leaf's body holds."""

    DECISIONS = 1
    RECEIPT = 2
    OVERRIDE = 3
    POLICY = 4
    MEMBERSHIP = 5
    EPOCH = 6
    OBJECTION = 7


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry of a log.

    Args:
        kind: What the body holds.
        node: Whose log it is.
        stamp: Hybrid logical clock.
        earliest_us: Earliest time it can have been, microseconds since 1970.
        latest_us: Latest time.
        policy: Digest of the policy in force, 32 bytes.
        body: At most 65,439 bytes.
    """

    kind: LeafKind
    node: NodeId
    stamp: Stamp
    earliest_us: int
    latest_us: int
    policy: bytes
    body: bytes

    def encode(self) -> bytes:
        """Return the entry's bytes.

        Raises:
            ValueError: A field is out of range.
        """
        if len(self.body) > MAX_BODY_BYTES:
            raise ValueError(f"a body of {len(self.body)} bytes, at most {MAX_BODY_BYTES}")
        node = self.node.encode()
        if not _sound(node, self.policy, self.earliest_us, self.latest_us):
            raise ValueError(f"{self!r:.200} cannot be a leaf")
        try:
            head = _HEAD.pack(
                MAGIC,
                VERSION,
                self.kind,
                0,
                self.stamp.counter,
                self.stamp.wall_ms,
                self.earliest_us,
                self.latest_us,
                node,
                self.policy,
                len(self.body),
            )
        except struct.error as error:
            raise ValueError(f"{self.stamp} cannot stand in a leaf") from error
        return head + _CRC.pack(zlib.crc32(self.body, zlib.crc32(head))) + self.body


def parse_leaf(entry: bytes) -> Leaf:
    """Return the leaf that an entry holds.

    Raises:
        Malformed: It is none, is damaged, or is of a version or kind that is not known here.
    """
    if len(entry) < HEADER_BYTES or entry[:3] != MAGIC:
        raise Malformed("an entry is no leaf of this format")
    if entry[3] != VERSION:
        raise Malformed(f"a leaf of version {entry[3]}", hint="a newer release reads it")
    head = entry[: _HEAD.size]
    _, _, kind, zero, counter, wall_ms, earliest, latest, node, policy, length = _HEAD.unpack(head)
    body = entry[HEADER_BYTES:]
    if len(body) != length or length > MAX_BODY_BYTES:
        raise Malformed(f"a leaf says its body has {length} bytes, it has {len(body)}")
    (crc,) = _CRC.unpack_from(entry, _HEAD.size)
    if crc != zlib.crc32(body, zlib.crc32(head)):
        raise Malformed("a leaf is damaged: its CRC-32 does not fit")
    if zero or not _sound(node, policy, earliest, latest):
        raise Malformed("a leaf's header is out of range")
    try:
        known = LeafKind(kind)
    except ValueError as error:
        raise Malformed(f"a leaf of kind {kind}", hint="a newer release reads it") from error
    stamp = Stamp(wall_ms, counter)
    return Leaf(known, NodeId(node.decode()), stamp, earliest, latest, policy, body)


def _sound(node: bytes, policy: bytes, earliest_us: int, latest_us: int) -> bool:
    named = len(node) == ID_LENGTH and _ID_LETTERS.issuperset(node)
    return named and len(policy) == DIGEST_BYTES and 0 <= earliest_us <= latest_us <= NEVER_US
