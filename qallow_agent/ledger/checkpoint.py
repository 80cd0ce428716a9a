"""Checkpoints: the head of a log as the text of a signed note.

Source: C2SP tlog-checkpoint, v1.
"""

import base64
import binascii
from dataclasses import dataclass

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.merkle import HASH_BYTES

MAX_SIZE = 1 << 63
_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How long a log is, and the root over all of it.

    Args:
        origin: The log's name: which log this is the head of.
        size: Entries in it.
        root: SHA-256 root over them, 32 bytes.
        extensions: Further lines; ours has none, since nobody audits them.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the note's text."""
        lines = (self.origin, str(self.size), encode_hash(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that a note's text holds; the note must be verified elsewhere.

    Raises:
        Malformed: The text is no checkpoint.
    """
    if not text.endswith("\n"):
        raise Malformed("a checkpoint does not end with a newline")
    lines = text[:-1].split("\n")
    if len(lines) < _LINES or not all(lines):
        raise Malformed("a checkpoint has fewer than three lines, or an empty one")
    origin, size, root, *extensions = lines
    return Checkpoint(origin, parse_size(size), decode_hash(root), tuple(extensions))


def parse_size(text: str) -> int:
    """Return a number of entries written in decimal without leading zeroes.

    Raises:
        Malformed: It is written otherwise, or out of range.
    """
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise Malformed(f"{text[:24]!r} is no size of a log")
    if len(text) > len(str(MAX_SIZE)) or int(text) >= MAX_SIZE:
        raise Malformed("a log cannot be that long")
    return int(text)


def encode_hash(value: bytes) -> str:
    """Return a hash in base64."""
    return base64.b64encode(value).decode()


def decode_hash(text: str) -> bytes:
    """Return a hash from its base64.

    Raises:
        Malformed: It is no base64 of 32 bytes, or another spelling of it.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{text[:48]!r} is no hash in base64") from error
    if len(value) != HASH_BYTES or encode_hash(value) != text:
        raise Malformed(f"{text[:48]!r} is no hash of {HASH_BYTES} bytes")
    return value
