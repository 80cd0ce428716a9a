"""Refusals: one object that says why work may not start and what would change that."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from qallow_agent.base.reading import Provenance
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.gate import Verdict
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.score import Score
from qallow_agent.ethics.signals import Component


class Elsewhere(msgspec.Struct, frozen=True):
    """Another place that would take the work.

    Args:
        node: The node's id or name, as people know it.
        device: The device's name there.
        e: Its thousandths of E.
        latency_us: Microseconds that each task spends more on the way.
    """

    node: str
    device: str
    e: int
    latency_us: int


class Position(msgspec.Struct, frozen=True):
    """Where a decision stands in a ledger."""

    origin: str
    index: int


class Cause(msgspec.Struct, frozen=True):
    """One component and the signal that it is no greater for.

    Args:
        component: Which of the three.
        thousandths: What it came to.
        signal: The culprit; empty when the component is 1000.
        value: Millionths of the culprit's unit; None when unknown.
        bad: Millionths of the unit at the hard limit; None for what is yes or no.
        good: Millionths of the unit where it is comfortable.
        provenance: Of the value.
        source: Where it was read.
        why: Why it is unknown, capped or a stop.
    """

    component: Component
    thousandths: int
    signal: str = ""
    value: int | None = None
    bad: int | None = None
    good: int | None = None
    provenance: Provenance = "unknown"
    source: str = ""
    why: str = ""


class Fix(msgspec.Struct, frozen=True):
    """One way to get the work admitted.

    Args:
        kind: ``wait``, ``elsewhere``, ``act`` (by a person) or ``override`` (by the owner).
        text: What to do, in one sentence.
        command: The command that does it, where there is one.
        wait_s: How long it is expected to take; None when unknown.
    """

    kind: Literal["wait", "elsewhere", "act", "override"]
    text: str
    command: str = ""
    wait_s: float | None = None


class Target(msgspec.Struct, frozen=True):
    """A value that a signal must reach; None for a signal that must be measured or overridden."""

    signal: str
    value: int | None


class Refusal(msgspec.Struct, frozen=True):
    """Why a placement was not admitted, and what gets it admitted; all scores are thousandths.

    Args:
        job: The job's id.
        node: The node's id.
        device: The device's name.
        at_ms: When it was judged.
        code: ``deferred``, ``refused`` or ``stopped``.
        e: What it came to.
        needed: What it takes now.
        causes: The three components, the worst first.
        targets: Values that, reached together, get it admitted; the worst signal first.
        overrides: Signals whose override, together, gets it admitted; empty when none may.
        fixes: What to do, the cheapest first.
        exit_code: 75 when it may be tried later, 77 when it is not allowed.
        evidence: Hex SHA-256 of the evidence.
        policy: Hex SHA-256 of the policy.
        ledger: Where the decision is logged, when known.
    """

    job: str
    node: str
    device: str
    at_ms: int
    code: Literal["deferred", "refused", "stopped"]
    e: int
    needed: int
    causes: tuple[Cause, ...]
    targets: tuple[Target, ...]
    overrides: tuple[str, ...]
    fixes: tuple[Fix, ...]
    exit_code: int
    evidence: str
    policy: str
    ledger: Position | None = None


def refuse(
    evidence: Evidence,
    score: Score,
    policy: Policy,
    verdict: Verdict,
    *,
    slopes: Mapping[str, int] | None = None,
    elsewhere: tuple[Elsewhere, ...] = (),
    ledger: Position | None = None,
) -> Refusal:
    """Return why a verdict did not admit a placement.

    Args:
        evidence: What was known.
        score: What it came to.
        policy: What it was judged by.
        verdict: What the gate said.
        slopes: Observed trends of signals, millionths of their units a second.
        elsewhere: Places that would take it, the best first.
        ledger: Where the decision is logged.
    """
    raise NotImplementedError


def text(refusal: Refusal) -> str:
    """Return a refusal for a terminal of 80 columns."""
    raise NotImplementedError


def document(refusal: Refusal) -> dict[str, Any]:
    """Return a refusal as a problem document (RFC 9457) with members of our own."""
    raise NotImplementedError
