"""Keys of logs and cosigners: what they sign, and how their names travel.

A log signs the checkpoint's text itself (type 1). A cosigner signs that it saw the log grow to it:
by Ed25519 over a few lines of text (type 4), or by ML-DSA-44 over a structure (type 6) that
commits to its name as well.

Source: C2SP signed-note v1, tlog-cosignature v1.
"""

import base64
import binascii
from dataclasses import dataclass
from enum import IntEnum

from qallow_agent.base.errors import BadSignature, Malformed
from qallow_agent.base.keys import (
    KEY_BYTES,
    LATTICE_KEY_BYTES,
    LATTICE_SIGNATURE_BYTES,
    SIGNATURE_BYTES,
    LatticeKey,
    SigningKey,
    verify,
    verify_lattice,
)
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.note import Signature, check_name, key_id

_STAMP_BYTES = 8
_SUBTREE = b"subtree/v1\n\x00"
_MOST_NAME_BYTES = 255
_MOST_SECONDS = (1 << 63) - 1


class KeyKind(IntEnum):
    """The byte that tells signature types apart."""

    LOG = 0x01
    COSIGNER = 0x04
    LATTICE_COSIGNER = 0x06


_SIGNATURE_BYTES = {
    KeyKind.LOG: SIGNATURE_BYTES,
    KeyKind.COSIGNER: _STAMP_BYTES + SIGNATURE_BYTES,
    KeyKind.LATTICE_COSIGNER: _STAMP_BYTES + LATTICE_SIGNATURE_BYTES,
}
_KEY_BYTES = {
    KeyKind.LOG: KEY_BYTES,
    KeyKind.COSIGNER: KEY_BYTES,
    KeyKind.LATTICE_COSIGNER: LATTICE_KEY_BYTES,
}


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key under a name; two are the same key when ``public`` is, whatever their names.

    Args:
        name: Of a log its origin.
        kind: What it signs, and how.
        public: 32 bytes of Ed25519, or 1,312 of ML-DSA-44.
    """

    name: str
    kind: KeyKind
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which notes name it."""
        return key_id(self.name, self.kind, self.public)

    def encode(self) -> str:
        """Return it as a verifier key: ``name+id+base64``."""
        material = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def verify(self, text: str, data: bytes) -> None:
        """Check its signature of a note's text.

        Raises:
            BadSignature: It is none.
        """
        if len(data) != _SIGNATURE_BYTES[self.kind]:
            raise BadSignature(f"the signature of {self.name} is {len(data)} bytes long")
        if self.kind is KeyKind.LOG:
            verify(self.public, text.encode(), data)
            return
        seconds, signature = int.from_bytes(data[:_STAMP_BYTES]), data[_STAMP_BYTES:]
        if self.kind is KeyKind.COSIGNER:
            verify(self.public, _witnessed_text(text, seconds), signature)
            return
        try:
            checkpoint = parse_checkpoint(text)
        except Malformed as error:
            raise BadSignature(f"{self.name} cosigned what is no checkpoint") from error
        verify_lattice(self.public, _subtree(self.name, checkpoint, seconds), signature)


def parse_note_key(text: str) -> NoteKey:
    """Return the key that a verifier key ``name+id+base64`` names.

    Raises:
        Malformed: It is none, of a type that is not used here, or its id does not fit.
    """
    parts = text.split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 - name, id, key
        raise Malformed(f"{text[:80]!r} is no verifier key", hint="write it as name+id+key")
    name, identity, encoded = parts
    check_name(name)
    try:
        raw = base64.b64decode(encoded, validate=True)
        kind = KeyKind(raw[0])
    except (binascii.Error, ValueError, IndexError) as error:
        raise Malformed(f"the key of {name} is of no type that is used here") from error
    if len(raw) != 1 + _KEY_BYTES[kind]:
        raise Malformed(f"the key of {name} is {len(raw) - 1} bytes long")
    key = NoteKey(name, kind, raw[1:])
    if identity != key.key_id.hex():
        raise Malformed(f"the key of {name} does not give the id {identity[:16]!r}")
    return key


def log_key(origin: str, key: SigningKey) -> NoteKey:
    """Return the public half of a log's key."""
    return NoteKey(origin, KeyKind.LOG, key.public)


def cosigner_key(name: str, key: SigningKey | LatticeKey) -> NoteKey:
    """Return the public half of a cosigner's key."""
    lattice = isinstance(key, LatticeKey)
    return NoteKey(name, KeyKind.LATTICE_COSIGNER if lattice else KeyKind.COSIGNER, key.public)


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Signature:
    """Return a log's own signature of its head."""
    data = key.sign(checkpoint.text().encode())
    return Signature(checkpoint.origin, log_key(checkpoint.origin, key).key_id, data)


def cosign(
    checkpoint: Checkpoint, name: str, key: SigningKey | LatticeKey, seconds: int
) -> Signature:
    """Return a cosigner's word that it saw a log grow to this head.

    Args:
        checkpoint: The head; checked by the caller.
        name: The cosigner's.
        key: Its key.
        seconds: POSIX time of the signature.

    Raises:
        ValueError: The time is out of range.
    """
    if not 0 <= seconds <= _MOST_SECONDS:
        raise ValueError(f"{seconds} is no POSIX time")
    if isinstance(key, LatticeKey):
        data = key.sign(_subtree(name, checkpoint, seconds))
    else:
        data = key.sign(_witnessed_text(checkpoint.text(), seconds))
    stamp = seconds.to_bytes(_STAMP_BYTES)
    return Signature(name, cosigner_key(name, key).key_id, stamp + data)


def cosigned_at(signature: Signature) -> int:
    """Return the POSIX seconds that a cosignature states."""
    return int.from_bytes(signature.data[:_STAMP_BYTES])


def _witnessed_text(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _subtree(name: str, checkpoint: Checkpoint, seconds: int) -> bytes:
    """Return the structure ``cosigned_message`` for a whole tree."""
    return b"".join(
        (
            _SUBTREE,
            _opaque(name),
            seconds.to_bytes(_STAMP_BYTES),
            _opaque(checkpoint.origin),
            (0).to_bytes(_STAMP_BYTES),
            checkpoint.size.to_bytes(_STAMP_BYTES),
            checkpoint.root,
        )
    )


def _opaque(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _MOST_NAME_BYTES:
        raise BadSignature(f"a name of {len(data)} bytes cannot be cosigned")
    return bytes([len(data)]) + data
