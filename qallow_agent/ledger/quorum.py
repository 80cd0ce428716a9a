"""The rules of witnesses as functions of plain values, so that an exhaustive model can run them.

What they promise together: with at most f faulty members, no two inconsistent heads of one log are
ever certified, whatever is lost, late or partitioned. Time is in none of them.

- a certificate needs ``needed`` members of one manifest version;
- a member cosigns only what continues the last head it has seen, and remembers before it answers;
- after a start, a member cosigns a log only when ``confirmations`` others have told that they
  remember this very head: its own memory may come from a backup;
- whoever has voted for a newer manifest signs nothing under an older one.

Source: C2SP tlog-witness (the codes); the specification of proof-of-coherence, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

MAX_MEMBERS = 31


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of a committee must agree.

    Args:
        members: How many there are, at least 1.
    """

    members: int

    @property
    def faulty(self) -> int:
        """How many may lie without harm: f."""
        return (self.members - 1) // 3

    @property
    def needed(self) -> int:
        """How many make a certificate: any two such groups share more than f members."""
        return (self.members + self.faulty) // 2 + 1

    @property
    def confirmations(self) -> int:
        """How many others must remember a head before one that just started cosigns it.

        Those who do not remember it, those who lie and the one that forgot are then too few for
        a certificate of anything else: (n - 1 - c) + f + 1 < q.
        """
        return self.members + self.faulty - self.needed + 1 if self.members > 1 else 0

    @property
    def standing(self) -> str:
        """What it withstands, in words."""
        if self.members <= 1:
            return "solo"
        return f"f = {self.faulty}" if self.faulty else "crash-only, f = 0"


class Code(IntEnum):
    """What a witness answers.

    Source: C2SP tlog-witness, add-checkpoint.
    """

    WITNESSED = 200
    MALFORMED = 400
    FORBIDDEN = 403
    UNKNOWN = 404
    CONFLICT = 409
    INCONSISTENT = 422


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was seen: its size and the root over that."""

    size: int
    root: bytes


def merge(*marks: Mark) -> tuple[Mark, ...]:
    """Return what a log must continue, the shortest first, each once."""
    return tuple(sorted(set(marks), key=_order))


def judge(
    marks: tuple[Mark, ...], old: int, offered: Mark, *, proves: Callable[[Mark], bool]
) -> tuple[Code, tuple[Mark, ...]]:
    """Return the answer to an offered head, and what the log must continue from then on.

    Usually there is one mark: the last head seen. There are several after a change of committee,
    when old members told of different heads of one log: taking the largest of them would forget a
    certified head whose log then showed another history to somebody else. So each of them must be
    proved to lie under the head, the shortest first, one with every offer.

    Args:
        marks: Heads that were seen, the shortest first; none of a new log.
        old: Size from which the offer proves to continue.
        offered: The head.
        proves: Whether the proof from a mark holds; asked only when everything else fits.
    """
    if old > offered.size:
        return Code.MALFORMED, marks
    if not marks:
        return (Code.WITNESSED, (offered,)) if old == 0 else (Code.CONFLICT, marks)
    first = marks[0]
    if old != first.size or offered.size < marks[-1].size:
        return Code.CONFLICT, marks
    if offered.size == first.size:
        same = marks == (offered,)
        return (Code.WITNESSED if same else Code.CONFLICT), marks
    if not proves(first):
        return Code.INCONSISTENT, marks
    left = merge(*marks[1:], offered)
    return (Code.WITNESSED if left == (offered,) else Code.CONFLICT), left


def may_sign(version: int, current: int, voted: int) -> bool:
    """Return whether a member may sign anything under a manifest version.

    Args:
        version: Under which it is asked to.
        current: The newest it has adopted.
        voted: The newest it has voted for.
    """
    return version == current and voted <= version


def may_witness(*, confirmed: bool, others: int, quorum: Quorum) -> bool:
    """Return whether a member that remembers a head may cosign it too.

    Args:
        confirmed: Whether it cosigned this log since it started.
        others: Other members that remember this very head.
        quorum: The committee's.
    """
    return confirmed or others >= quorum.confirmations


def contradict(one: Mark, other: Mark) -> bool:
    """Return whether two heads of one log cannot both be true, as anybody can see."""
    return one.size == other.size and one.root != other.root


def _order(mark: Mark) -> tuple[int, bytes]:
    return mark.size, mark.root
