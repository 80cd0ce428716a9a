"""Every message that members exchange about heads, committees and forks."""

import msgspec

from qallow_agent.base.ids import NodeId
from qallow_agent.base.message import Message
from qallow_agent.ledger.manifest import Manifest, SeenHead, Vote
from qallow_agent.ledger.seats import Card, Seat

# --- heads ----------------------------------------------------------------------------------------


class HeadOffered(Message, tag="log.head"):
    """A node shows a head of its own log to a member of the committee, to have it cosigned.

    Args:
        version: Of the committee, as the owner knows it.
        card: Of the log.
        old: Size from which the proof leads; 0 without one.
        proof: Consistency proof from ``old`` to the head.
        head: The note, with the cosignatures that it has so far.
        statement: The newest epoch statement's entry; empty for none.
        index: Where it stands.
        inclusion: Proof that the head covers it.
    """

    version: int
    card: Card
    old: int
    proof: tuple[bytes, ...]
    head: bytes
    statement: bytes = b""
    index: int = 0
    inclusion: tuple[bytes, ...] = ()


class HeadCosigned(Message, tag="log.cosigned"):
    """A member's cosignatures of a head, as lines of a note.

    One that has just started says only that it remembers the head; it cosigns when it is shown
    that enough others do.
    """

    version: int
    origin: str
    size: int
    root: bytes
    lines: tuple[str, ...]


FORKED = "this log showed two histories"
"""What a member answers whoever is convicted; the owner knows it by these words."""


class HeadRefused(Message, tag="log.refused"):
    """A member cosigns a head not, with the code of a witness.

    Args:
        version: Of the committee, as the member knows it.
        origin: Of which log.
        size: Of the refused head.
        code: 400, 403, 404, 409 or 422.
        known: With 409 the size that the proof must lead from.
        why: For people.
    """

    version: int
    origin: str
    size: int
    code: int
    known: int = 0
    why: str = ""


class HeadsTold(Message, tag="log.heads"):
    """The newest heads that the sender has seen, so that two histories of a log meet somewhere."""

    heads: tuple[SeenHead, ...]


class ForkFound(Message, tag="log.fork"):
    """Two heads that one log signed and that contradict; anybody can check."""

    card: Card
    one: bytes
    other: bytes


class ProofWanted(Message, tag="log.prove"):
    """Two heads of yours were seen; prove that the larger continues the smaller."""

    old: int
    new: int


class ProofGiven(Message, tag="log.proof"):
    """The consistency proof that was asked for."""

    old: int
    new: int
    proof: tuple[bytes, ...]


# --- committee ------------------------------------------------------------------------------------


class SeatWanted(Message, tag="quorum.seat-wanted"):
    """The operator prepares a version and asks a node for its seat in it."""

    version: int


class SeatGiven(Message, tag="quorum.seat"):
    """A node's seat, signed by itself."""

    seat: Seat


class ManifestProposed(Message, tag="quorum.proposed"):
    """The operator proposes a version; the sender asks for a vote, and for what it knows."""

    manifest: Manifest
    previous: Manifest | None = None


class ManifestVoted(Message, tag="quorum.voted"):
    """One vote, told to everybody whom it concerns."""

    vote: Vote


class ManifestTold(Message, tag="quorum.manifest"):
    """A version that holds, with the votes that show it."""

    manifest: Manifest
    previous: Manifest | None
    votes: tuple[Vote, ...]


class ManifestWanted(Message, tag="quorum.manifest-wanted"):
    """The sender knows the committee up to a version, and wants what is newer."""

    version: int


# --- validators -----------------------------------------------------------------------------------


class Blob(msgspec.Struct, frozen=True):
    """Evidence that a decision names by its digest."""

    digest: bytes
    data: bytes


class DecisionBatch(Message, tag="validate.batch"):
    """A leaf of decisions, and the evidence behind them, for a peer to judge again."""

    origin: str
    index: int
    leaf: bytes
    evidence: tuple[Blob, ...]


class Assent(Message, tag="validate.assent"):
    """A validator came to the same decisions."""

    origin: str
    index: int
    validator: NodeId
    signature: bytes


class Objection(Message, tag="validate.objection"):
    """A validator came to others, or found evidence that cannot be; names the signal."""

    origin: str
    index: int
    validator: NodeId
    signal: str
    why: str
    signature: bytes


class DecisionValidated(Message, tag="validate.done"):
    """An executor tells a desk what validators said of its decision about a job of that desk.

    Args:
        index: Of the leaf in the executor's log.
        leaf: The decision, as it was logged.
        devices: The device of each record there; whoever reads checks their hashes.
        evidence: The 32-byte digest behind each record, of which the leaf holds a part.
        assents: Signed by those that agreed.
        objections: Signed by those that did not.
    """

    job: str
    index: int
    leaf: bytes
    devices: tuple[str, ...]
    evidence: tuple[bytes, ...]
    assents: tuple[Assent, ...]
    objections: tuple[Objection, ...]


# --- within the node ------------------------------------------------------------------------------


class Certified(Message, tag="fact.certified"):
    """A quorum cosigned a head of this node's log."""

    origin: str
    size: int
    note: bytes
    by: tuple[NodeId, ...]


class ForkDetected(Message, tag="fact.fork"):
    """A node showed two histories of its log."""

    node: NodeId
    origin: str
    why: str


class CommitteeChanged(Message, tag="fact.committee"):
    """Another version of the committee holds from now on."""

    version: int


class Objected(Message, tag="fact.objected"):
    """This node, as a validator, objects to decisions of another."""

    objection: Objection


class Judged(Message, tag="fact.judged"):
    """Validators have answered about a batch, or their time is over.

    Args:
        index: Of the leaf in this node's log.
        assents: Who agreed.
        objections: Who did not, and why.
        signed: What those that agreed have signed.
        asked: How many were asked.
    """

    index: int
    assents: tuple[NodeId, ...]
    objections: tuple[Objection, ...]
    signed: tuple[Assent, ...] = ()
    asked: int = 0


HEARD_KINDS: tuple[type[Message], ...] = (
    HeadOffered,
    HeadCosigned,
    HeadRefused,
    HeadsTold,
    ForkFound,
    ProofWanted,
    ProofGiven,
    SeatWanted,
    SeatGiven,
    ManifestProposed,
    ManifestVoted,
    ManifestTold,
    ManifestWanted,
)
"""What members tell each other's councils."""

COUNCIL_KINDS: tuple[type[Message], ...] = (
    *HEARD_KINDS, DecisionBatch, Assent, Objection, DecisionValidated,
)  # fmt: skip
"""What members say to one another about logs."""
