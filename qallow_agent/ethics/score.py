"""E = S + C + H of a placement, in thousandths: a pure function of evidence and policy."""

import msgspec

from qallow_agent.base.reading import Provenance
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.signals import Component


class Mark(msgspec.Struct, frozen=True):
    """What one signal came to.

    Args:
        signal: Which one.
        value: Millionths of its unit; None when unknown.
        thousandths: 0 to 1000; None when it did not count.
        provenance: Of the value.
        stop: Why work stops because of it; else empty.
        why: Why it is unknown, skipped, capped, estimated or overridden.
        source: Where the value was read.
    """

    signal: str
    value: int | None
    thousandths: int | None
    provenance: Provenance
    stop: str = ""
    why: str = ""
    source: str = ""


class Score(msgspec.Struct, frozen=True):
    """What a placement came to; all numbers are thousandths.

    Args:
        s: Sustainability, 0 to 1000.
        c: Compassion, 0 to 1000.
        h: Harmony, 0 to 1000.
        culprits: The signal that each component is no greater for; empty where it is 1000.
        stops: Signals that stop work whatever the score, in the table's order.
        marks: What each signal came to, in the table's order; only those with evidence, skipped or
            overridden ones, and the three ceilings.
        solo: This node never had peers, by design.
    """

    s: int
    c: int
    h: int
    culprits: tuple[str, str, str]
    stops: tuple[str, ...]
    marks: tuple[Mark, ...]
    solo: bool = False

    @property
    def e(self) -> int:
        """The sum, 0 to 3000."""
        return self.s + self.c + self.h

    def component(self, name: Component) -> int:
        """Return one of the three."""
        return {"s": self.s, "c": self.c, "h": self.h}[name]

    def mark(self, signal: str) -> Mark | None:
        """Return what a signal came to; None when nothing was said about it."""
        return next((mark for mark in self.marks if mark.signal == signal), None)


def score(evidence: Evidence, policy: Policy, now_ms: int) -> Score:
    """Return the score of a placement; the same bits on every machine.

    Args:
        evidence: What is known.
        policy: What it is judged by.
        now_ms: Milliseconds of Unix time by the clock of the evidence.
    """
    raise NotImplementedError
