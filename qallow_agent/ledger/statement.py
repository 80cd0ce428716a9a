"""Epoch statements: what a node says of the mesh's coherence, with the numbers it follows from.

    offset  bytes  what, integers big-endian
         0      1  version: 1
         1      1  flags: 1 the entropy is at most 0.001, 2 there were 1,000 audits to tell
         2      2  coherence, thousandths
         4      4  audits counted
         8      8  sum of their result entropies, millionths
        16      2  members
        18      2  members whose clock is in harmony (h1 >= 0.9)
        20      2  members whose policy and version are (h3 >= 0.9)
        22      2  members whose view is (h4 >= 0.9)
        24     32  digest of the policy in force
        56     32  digest of the members
        88      8  earliest time it can have been, microseconds since 1970
        96      8  latest time

What follows from other fields is computed again while decoding, so that a statement whose flags or
coherence do not follow from its own inputs is no statement.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId

VERSION = 1
ENOUGH_AUDITS = 1_000
MOST_ENTROPY_MILLIONTHS = 1_000
"""0.001: at most one 2:1 split in a thousand audits."""

_MILLION = 1_000_000
_DIGEST_BYTES = 32
_LAYOUT = struct.Struct(">BBHIQHHHH32s32sQQ")
STATEMENT_BYTES = _LAYOUT.size
_LOW_ENTROPY, _ENOUGH = 1, 2
_LATEST_US = (1 << 63) - 1
_MEMBERS = "qallow/members/v1"


@dataclass(frozen=True, slots=True)
class Statement:
    """The inputs of an epoch statement; the rest follows from them.

    Args:
        audits: Audits counted, at most the last 1,000.
        entropy_millionths: Sum of their result entropies.
        members: Members that are up.
        clock_ok: Of them, those whose clock is in harmony.
        policy_ok: Those whose policy and version are.
        view_ok: Those whose view of the members is.
        policy: Digest of the policy in force.
        members_digest: Of the members, from :func:`digest_members`.
        earliest_us: Earliest time it can have been.
        latest_us: Latest time.
    """

    audits: int
    entropy_millionths: int
    members: int
    clock_ok: int
    policy_ok: int
    view_ok: int
    policy: bytes
    members_digest: bytes
    earliest_us: int
    latest_us: int

    @property
    def mesh_entropy_millionths(self) -> int:
        """Mean entropy of the audits, rounded up so that rounding hides no disagreement."""
        return -(-self.entropy_millionths // self.audits) if self.audits else 0

    @property
    def low_entropy(self) -> bool:
        """Whether the mesh entropy is at most 0.001."""
        return self.mesh_entropy_millionths <= MOST_ENTROPY_MILLIONTHS

    @property
    def enough_evidence(self) -> bool:
        """Whether there were audits enough to tell."""
        return self.audits >= ENOUGH_AUDITS

    @property
    def coherence(self) -> int:
        """The smallest of agreement and of the three shares of members, in thousandths."""
        agreement = (_MILLION - self.mesh_entropy_millionths) // 1_000
        counts = (self.clock_ok, self.policy_ok, self.view_ok)
        shares = [1_000 * count // self.members for count in counts] if self.members else []
        return min([agreement, *shares])

    def encode(self) -> bytes:
        """Return the body of the leaf.

        Raises:
            ValueError: A number is out of range.
        """
        if not self._sound():
            raise ValueError(f"{self!r:.200} cannot be stated")
        try:
            return self._pack()
        except struct.error as error:
            raise ValueError(f"{self!r:.200} cannot be stated") from error

    def _pack(self) -> bytes:
        flags = _LOW_ENTROPY * self.low_entropy + _ENOUGH * self.enough_evidence
        return _LAYOUT.pack(
            VERSION,
            flags,
            self.coherence,
            self.audits,
            self.entropy_millionths,
            self.members,
            self.clock_ok,
            self.policy_ok,
            self.view_ok,
            self.policy,
            self.members_digest,
            self.earliest_us,
            self.latest_us,
        )

    def _sound(self) -> bool:
        shares = (self.clock_ok, self.policy_ok, self.view_ok)
        return (
            0 <= self.entropy_millionths <= self.audits * _MILLION
            and all(0 <= share <= self.members for share in shares)
            and len(self.policy) == len(self.members_digest) == _DIGEST_BYTES
            and 0 <= self.earliest_us <= self.latest_us <= _LATEST_US
        )


def parse_statement(body: bytes) -> Statement:
    """Return the statement that a leaf's body holds.

    Raises:
        Malformed: It is none, or what it derives does not follow from its inputs.
    """
    if len(body) != STATEMENT_BYTES or body[0] != VERSION:
        raise Malformed("an epoch statement has another length or version")
    _, _, _, *inputs = _LAYOUT.unpack(body)
    statement = Statement(*inputs)
    if not statement._sound() or statement._pack() != body:  # noqa: SLF001 - its own module
        raise Malformed("an epoch statement does not follow from its own inputs")
    return statement


def digest_members(nodes: Iterable[NodeId]) -> bytes:
    """Return the hash by which a statement names the members that are up."""
    listed = "\n".join((_MEMBERS, *sorted(nodes)))
    return hashlib.sha256(listed.encode()).digest()


def disagreement(statement: Statement, *, policy: bytes, members_digest: bytes) -> str:
    """Return in what a statement differs from what another node observes; empty when it agrees.

    Compared is what any two members must see alike: the policy and the members. What was audited
    differs from node to node, and what follows from the audits was computed again when it was read.
    """
    if statement.policy != policy:
        return "another policy"
    if statement.members_digest != members_digest:
        return "other members"
    return ""
