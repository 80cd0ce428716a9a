"""Node and mesh ids as they travel in packed headers: 130 bits in 17 bytes."""

import re

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import ID_LENGTH, NodeId

PACKED_BYTES = 17

_IDENTITY = re.compile(f"[a-z2-7]{{{ID_LENGTH}}}", re.ASCII)
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_TO_INT = str.maketrans(_DIGITS, "0123456789abcdefghijklmnopqrstuv")
_BITS = 5


def is_identity(text: str) -> bool:
    """Return whether a text has the form of a node or mesh id."""
    return _IDENTITY.fullmatch(text) is not None


def pack_id(identity: str) -> bytes:
    """Return the 17 bytes of an id.

    Raises:
        Malformed: The text is no id.
    """
    if not is_identity(identity):
        raise Malformed(f"{identity[:40]!r} is no node id")
    return int(identity.translate(_TO_INT), 32).to_bytes(PACKED_BYTES)


def unpack_id(packed: bytes) -> NodeId:
    """Return the id that 17 bytes hold.

    Raises:
        Malformed: Wrong length, or bits beyond the 130 of an id are set.
    """
    number = int.from_bytes(packed)
    if len(packed) != PACKED_BYTES or number >> (ID_LENGTH * _BITS):
        raise Malformed("a packed id has bits beyond its 130")
    shifts = range((ID_LENGTH - 1) * _BITS, -1, -_BITS)
    return NodeId("".join(_DIGITS[(number >> shift) & 31] for shift in shifts))
