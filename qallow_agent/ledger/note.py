"""Signed notes: text with signatures below it, each by a named key.

Source: C2SP signed-note, v1.
"""

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from qallow_agent.base.errors import BadSignature, Malformed, TooLarge

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 100
"""Above what any quorum of ours needs, far below what costs anything to skip over."""

ID_BYTES = 4
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who claims to have signed, by which key, and how."""

    name: str
    key_id: bytes
    data: bytes

    def line(self) -> str:
        """Return it as it stands in a note, newline included."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """Text that ends with a newline, and the signatures below it; none of them is checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Return the note's bytes."""
        return (self.text + "\n" + "".join(each.line() for each in self.signatures)).encode()


class Verifier(Protocol):
    """A key that is trusted under a name."""

    @property
    def name(self) -> str:
        """The key's name."""
        ...

    @property
    def key_id(self) -> bytes:
        """Its four bytes."""
        ...

    def verify(self, text: str, data: bytes) -> None:
        """Check a signature of a note's text.

        Raises:
            BadSignature: It is none by this key.
        """
        ...


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """Return the four bytes by which a note names a key.

    Args:
        name: The key's name.
        kind: The byte of the signature type.
        public_key: In that type's encoding.
    """
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:ID_BYTES]


def check_name(name: str) -> None:
    """Check the name of a key.

    Raises:
        Malformed: It is empty, or has a space, a plus or a control character in it.
    """
    odd = any(each.isspace() or unicodedata.category(each) == "Cc" for each in name)
    if not name or odd or "+" in name:
        raise Malformed(f"{name!r} is no name of a key")


def parse_note(data: bytes) -> Note:
    """Return the parts of a note; nothing of it is proved yet.

    Raises:
        TooLarge: It exceeds the caps.
        Malformed: It is no note.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise TooLarge(f"a note of {len(data)} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note is not UTF-8") from error
    if any(each < " " and each != "\n" for each in whole):
        raise Malformed("a note holds a control character")
    above, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n"):
        raise Malformed("a note has no signatures below its text")
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise TooLarge(f"a note with {len(lines)} signatures")
    return Note(above + "\n", tuple(parse_signature(line) for line in lines))


def parse_signature(line: str) -> Signature:
    """Return one signature line, given without its newline.

    Raises:
        Malformed: It is none.
    """
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise Malformed("a signature line does not begin with a dash")
    check_name(name)
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"the signature of {name} is not base64") from error
    if len(raw) <= ID_BYTES:
        raise Malformed(f"the signature of {name} is too short")
    return Signature(name, raw[:ID_BYTES], raw[ID_BYTES:])


def verified(note: Note, known: Sequence[Verifier]) -> tuple[Verifier, ...]:
    """Return the known keys that signed a note, each once, in the order given.

    Signatures by unknown keys are ignored. One that claims a known key and does not verify makes
    the whole note suspect.

    Raises:
        BadSignature: A signature of a known key does not verify, or no known key has signed.
    """
    table: Mapping[tuple[str, bytes], Verifier] = {(each.name, each.key_id): each for each in known}
    found: dict[tuple[str, bytes], None] = {}
    for signature in note.signatures:
        claimed = (signature.name, signature.key_id)
        verifier = table.get(claimed)
        if verifier is not None:
            verifier.verify(note.text, signature.data)
            found[claimed] = None
    if not found:
        raise BadSignature("a note is signed by no key that is known here")
    return tuple(each for key, each in table.items() if key in found)
