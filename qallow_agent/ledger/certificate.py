"""Certificates: a log's head with the cosignatures of a quorum of one committee.

A certificate says that the log has one history up to that head. It says nothing of order between
nodes, of what was left out, of the truth of sensors, or of anything after the head.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qallow_agent.base.errors import BadSignature
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.checkpoint import Checkpoint, parse_checkpoint
from qallow_agent.ledger.manifest import Manifest
from qallow_agent.ledger.note import Note, Signature, parse_note
from qallow_agent.ledger.quorum import Mark
from qallow_agent.ledger.seats import SEEN, WITNESSED, Card
from qallow_agent.ledger.signing import NoteKey


@dataclass(frozen=True, slots=True)
class Head:
    """A head that its log signed: checked by :func:`open_head`."""

    checkpoint: Checkpoint
    note: Note

    @property
    def mark(self) -> Mark:
        """Its size and root."""
        return Mark(self.checkpoint.size, self.checkpoint.root)


def open_head(data: bytes, card: Card) -> Head:
    """Return the head that a note holds, when the log that the card names signed it.

    Signatures of others stay in the note and are not checked here; what the log's own key did not
    sign is dropped with them when :func:`bare` is asked for.

    Raises:
        WireError: It is no head, of another log, or not signed by it.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != card.origin or checkpoint.extensions:
        raise BadSignature(f"a head of {checkpoint.origin!r:.80} under the card of {card.origin}")
    key = card.key
    own = [each for each in note.signatures if _by(key, each)]
    if not own:
        raise BadSignature(f"a head of {card.origin} is not signed by its log")
    for each in own:
        key.verify(note.text, each.data)
    return Head(checkpoint, note)


def bare(head: Head, card: Card) -> bytes:
    """Return a head with nothing below it but its log's own signature."""
    key = card.key
    own = tuple(each for each in head.note.signatures if _by(key, each))
    return Note(head.note.text, own[:1]).encode()


def signers(
    note: Note, keys: Mapping[NodeId, NoteKey], skip: Iterable[NodeId] = ()
) -> tuple[NodeId, ...]:
    """Return which members' keys signed a note, sorted; a wrong signature spoils the note.

    Raises:
        BadSignature: A member's key is named by a signature that does not verify.
    """
    left_out = tuple(skip)
    named = {(key.name, key.key_id): node for node, key in keys.items() if node not in left_out}
    found = set()
    for signature in note.signatures:
        node = named.get((signature.name, signature.key_id))
        if node is not None and node not in found:
            keys[node].verify(note.text, signature.data)
            found.add(node)
    return tuple(sorted(found))


def remembered_by(note: Note, manifest: Manifest, without: NodeId) -> int:
    """Return how many others of a committee remember a head: what they cosigned, they do.

    Raises:
        BadSignature: A member's signature does not verify.
    """
    found = {
        node
        for purpose in (SEEN, WITNESSED)
        for node in signers(note, manifest.cosigners(purpose), (without,))
    }
    return len(found)


def certified_by(note: Note, manifest: Manifest) -> tuple[NodeId, ...]:
    """Return who of a committee certifies a head; empty when they are too few.

    Raises:
        BadSignature: A member's signature does not verify.
    """
    found = signers(note, manifest.cosigners(WITNESSED))
    return found if len(found) >= manifest.quorum.needed else ()


def trust_policy(card: Card, manifest: Manifest) -> str:
    """Return the trust policy by which anybody checks a certificate of a log, away from the mesh.

    Source: C2SP tlog-policy.
    """
    names = [f"w{number}" for number in range(1, len(manifest.seats) + 1)]
    lines = [f"log {card.key.encode()}"]
    for name, seat in zip(names, manifest.seats, strict=True):
        lines.append(f"witness {name} {seat.cosigner(WITNESSED).encode()}")
    lines.append(f"group committee {manifest.quorum.needed} {' '.join(names)}")
    return "\n".join([*lines, "quorum committee", ""])


def _by(key: NoteKey, signature: Signature) -> bool:
    return signature.name == key.name and signature.key_id == key.key_id
