"""Evidence: a file that proves, with no log at hand, that an entry was logged and witnessed.

Source: C2SP tlog-proof, v1.
"""

import base64
import binascii
from dataclasses import dataclass

from qallow_agent.base.errors import BadProof, Malformed, TooLarge
from qallow_agent.ledger.checkpoint import (
    Checkpoint,
    decode_hash,
    encode_hash,
    parse_checkpoint,
    parse_size,
)
from qallow_agent.ledger.merkle import leaf_hash
from qallow_agent.ledger.note import Note, parse_note
from qallow_agent.ledger.proofs import MAX_HASHES, verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
MAX_EVIDENCE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an entry stands in a log, and the signed head that proves it.

    Args:
        index: The entry's place, counted from 0.
        proof: Its siblings on the way to the root.
        head: The log's checkpoint with all its signatures.
        extra: Anything that belongs to it; never trusted by itself.
    """

    index: int
    proof: tuple[bytes, ...]
    head: Note
    extra: bytes = b""

    def encode(self) -> bytes:
        """Return the file's bytes."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [encode_hash(each) for each in self.proof]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.head.encode()

    def prove(self, entry: bytes) -> Checkpoint:
        """Return the head under which an entry is proved to be logged; who signed it is not asked.

        Raises:
            BadProof: The head does not cover the entry.
            Malformed: The head is no checkpoint.
        """
        head = parse_checkpoint(self.head.text)
        if self.index >= head.size:
            raise BadProof(f"the head covers {head.size} entries, not entry {self.index}")
        verify_inclusion(leaf_hash(entry), self.index, head.size, self.proof, head.root)
        return head


def parse_evidence(data: bytes) -> Evidence:
    """Return what a file says; nothing of it is proved yet.

    Raises:
        TooLarge: It exceeds the caps.
        Malformed: It is no such file.
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise TooLarge(f"a proof file of {len(data)} bytes")
    above, blank, head = data.partition(b"\n\n")
    try:
        header, *lines = above.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("a proof file is not text") from error
    if not blank or header != HEADER:
        raise Malformed(f"a proof file does not begin with {HEADER!r}")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = _extra(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise Malformed("a proof file does not say which entry it is about")
    index = parse_size(lines.pop(0).removeprefix("index "))
    if len(lines) > MAX_HASHES:
        raise TooLarge(f"a proof of {len(lines)} hashes")
    return Evidence(index, tuple(decode_hash(line) for line in lines), parse_note(head), extra)


def _extra(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("the extra data of a proof file is no base64") from error
