"""Refusals: one object that says why work may not start, with two renderings, text and document."""

import textwrap
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from qallow_agent.base.errors import EXIT_NOT_ALLOWED, EXIT_TRY_LATER, Malformed, TooLarge
from qallow_agent.base.reading import Provenance
from qallow_agent.ethics.evidence import Evidence, digest
from qallow_agent.ethics.fixes import Elsewhere, Fix, fixes, show_target
from qallow_agent.ethics.gate import Admission, Running, Verdict
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.score import FULL, Score, ramp_of
from qallow_agent.ethics.signals import COMPONENTS, SIGNALS, Component
from qallow_agent.ethics.targets import Target, overrides, targets
from qallow_agent.ethics.words import show_thousandths, show_value

__all__ = [
    "Cause", "Elsewhere", "Fix", "Position", "Refusal", "Target",
    "decode_refusal", "document", "encode_refusal", "refuse", "text",
]  # fmt: skip

WIDTH = 80
MAX_REFUSAL_BYTES = 32 << 10
NOT_ALLOWED = ("c6", "c7", "c8")
"""Stops by somebody's word: trying again later is not what is called for."""
_NAMES = {"s": "sustainability", "c": "compassion", "h": "harmony"}
_STATUS = {EXIT_TRY_LATER: 503, EXIT_NOT_ALLOWED: 403}


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
        stop: Why it stops work whatever the score; else empty.
        why: Why it is unknown, estimated or not at its best.
    """

    component: Component
    thousandths: int
    signal: str = ""
    value: int | None = None
    bad: int | None = None
    good: int | None = None
    provenance: Provenance = "unknown"
    source: str = ""
    stop: str = ""
    why: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why a placement was not admitted, and what gets it admitted; all scores are thousandths.

    Args:
        job: The job's id; empty when the device was judged for nobody in particular.
        node: The node's id.
        device: The device's name.
        at_ms: When it was judged.
        code: ``deferred``, ``refused`` or ``stopped``.
        e: What it came to.
        threshold: The policy's threshold.
        needed: What it takes now: after a close more than the threshold.
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
    threshold: int
    needed: int
    causes: tuple[Cause, ...]
    targets: tuple[Target, ...]
    overrides: tuple[str, ...]
    fixes: tuple[Fix, ...]
    exit_code: int
    evidence: str
    policy: str
    ledger: Position | None = None

    @property
    def target(self) -> Target | None:
        """The value that the worst signal must reach; None when waiting is all that is needed."""
        return self.targets[0] if self.targets else None

    @property
    def override(self) -> str:
        """The signal that would be overridden first; empty when none may be."""
        return self.overrides[0] if self.overrides else ""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Refusal)


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
    wanted = targets(score, policy, verdict.needed)
    barred = any(each in NOT_ALLOWED for each in score.stops)
    return Refusal(
        job=evidence.job,
        node=evidence.node,
        device=evidence.device,
        at_ms=evidence.at_ms,
        code=_code(verdict),
        e=score.e,
        threshold=policy.threshold,
        needed=verdict.needed,
        causes=_causes(score, policy),
        targets=wanted,
        overrides=overrides(wanted),
        fixes=fixes(evidence.node, score, verdict, wanted, slopes or {}, elsewhere),
        exit_code=EXIT_NOT_ALLOWED if barred else EXIT_TRY_LATER,
        evidence=digest(evidence).hex(),
        policy=policy_digest(policy).hex(),
        ledger=ledger,
    )


def text(refusal: Refusal) -> str:
    """Return a refusal for a terminal of 80 columns."""
    lines = _fold(f"{_headline(refusal)}.")
    for cause in refusal.causes:
        lines += _fold(_show_cause(cause), 2, 14)
        lines += _fold(_show_origin(cause), 14, 14)
    lines.append("What gets it admitted, the cheapest first:")
    for number, fix in enumerate(refusal.fixes, start=1):
        lines += _fold(f"{number}. {fix.text}{':' if fix.commands else ''}", 2, 5)
        lines += [f"     {each}" for each in fix.commands]
    if refusal.ledger is not None:
        lines += _fold(f"Logged as entry {refusal.ledger.index} of {refusal.ledger.origin}.")
    return "\n".join(lines)


def document(refusal: Refusal) -> dict[str, Any]:
    """Return a refusal as a problem document (RFC 9457) with members of our own.

    Scores and values are decimal numbers, values in the unit that stands beside them.
    """
    worst = refusal.causes[0]
    signal = SIGNALS.get(worst.signal)
    return {
        "type": f"urn:qallow:{refusal.code}:{worst.signal or 'reopening'}",
        "title": f"{refusal.code.capitalize()}: {signal.name if signal else 'closed before'}",
        "status": _STATUS.get(refusal.exit_code, 503),
        "detail": f"{_headline(refusal)}.",
        "instance": f"urn:qallow:job:{refusal.job}" if refusal.job else "",
        "code": refusal.code,
        "exit_code": refusal.exit_code,
        "job": refusal.job,
        "node": refusal.node,
        "device": refusal.device,
        "at_ms": refusal.at_ms,
        "e": refusal.e / FULL,
        "threshold": refusal.threshold / FULL,
        "needed": refusal.needed / FULL,
        "shortfall": max(0, refusal.needed - refusal.e) / FULL,
        "components": [_document_cause(each) for each in refusal.causes],
        "targets": [_document_target(each) for each in refusal.targets],
        "overrides": list(refusal.overrides),
        "fixes": [msgspec.to_builtins(each) for each in refusal.fixes],
        "evidence": refusal.evidence,
        "policy": refusal.policy,
        "ledger": msgspec.to_builtins(refusal.ledger),
    }


def encode_refusal(refusal: Refusal) -> bytes:
    """Return the bytes of a refusal for a peer."""
    return _ENCODER.encode(refusal)


def decode_refusal(data: bytes) -> Refusal:
    """Return the refusal that a peer's bytes hold.

    Raises:
        TooLarge: More bytes than any refusal has.
        Malformed: The bytes are no refusal, or one without its three components.
    """
    if len(data) > MAX_REFUSAL_BYTES:
        raise TooLarge(f"a refusal of {len(data)} bytes")
    try:
        refusal = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"bytes are no refusal: {error}") from error
    if sorted(each.component for each in refusal.causes) != sorted(COMPONENTS):
        raise Malformed("a refusal needs each component once")
    return refusal


def _code(verdict: Verdict) -> Literal["deferred", "refused", "stopped"]:
    if verdict.running is Running.STOP:
        return "stopped"
    return "deferred" if verdict.admission is Admission.DEFER else "refused"


def _causes(score: Score, policy: Policy) -> tuple[Cause, ...]:
    """Return the three components, stops first, then the least; ties keep their order."""
    found: list[Cause] = []
    for component, culprit in zip(COMPONENTS, score.culprits, strict=True):
        mark = score.mark(culprit)
        if mark is None:
            found.append(Cause(component, score.component(component)))
            continue
        signal = SIGNALS[culprit]
        ends = ramp_of(signal, policy) if signal.role == "signal" and not signal.stop else None
        found.append(
            Cause(
                component,
                score.component(component),
                culprit,
                mark.value,
                ends.bad if ends else None,
                ends.good if ends else None,
                mark.provenance,
                mark.source,
                mark.stop,
                mark.why,
            )
        )
    return tuple(sorted(found, key=lambda each: (not each.stop, each.thousandths)))


def _headline(refusal: Refusal) -> str:
    place = f"{refusal.node}/{refusal.device}"
    verb = {"deferred": "has to wait for", "refused": "was refused on"}
    who = f"{refusal.job} {verb.get(refusal.code, 'may not run on')} {place}"
    if not refusal.job:
        who = f"{place} takes no work"
    e, needed = show_thousandths(refusal.e), show_thousandths(refusal.needed)
    stop = next((each.stop for each in refusal.causes if each.stop), "")
    if stop:
        return f"{who}: {stop} (E {e})"
    short = refusal.needed - refusal.e
    if short <= 0:
        return f"{who}: E {e} is enough, but has to hold for a while after the last close"
    after = (
        f", {show_thousandths(refusal.needed - refusal.threshold)} above the threshold to reopen"
        if refusal.needed > refusal.threshold
        else ""
    )
    return f"{who}: E {e} is {show_thousandths(short)} short of {needed}{after}"


def _show_cause(cause: Cause) -> str:
    head = f"{cause.component.upper()} {show_thousandths(cause.thousandths)}"
    if not cause.signal:
        return f"{head}  {_NAMES[cause.component]}: comfortable"
    signal = SIGNALS.get(cause.signal)
    name = signal.name if signal else "unknown signal"
    if cause.stop:
        return f"{head}  {cause.signal} {name}: {cause.stop}"
    if cause.bad is None or cause.good is None:
        return f"{head}  {cause.signal} {name}: {cause.why or 'not at its best'}"
    unit = signal.unit if signal else "count"
    ends = f"comfortable at {show_value(cause.good, unit)}, limit {show_value(cause.bad, unit)}"
    return f"{head}  {cause.signal} {name}: {show_value(cause.value, unit)}; {ends}"


def _show_origin(cause: Cause) -> str:
    """Return where a value comes from; a stop is somebody's word rather than a measurement."""
    if not cause.source:
        return cause.why if cause.stop else ""
    how = "by word of" if cause.stop else f"{cause.provenance} by"
    shown = cause.why and (cause.stop or cause.bad is not None)
    return f"{how} {cause.source}: {cause.why}" if shown else f"{how} {cause.source}"


def _document_cause(cause: Cause) -> dict[str, Any]:
    signal = SIGNALS.get(cause.signal)
    return {
        "component": cause.component,
        "value": cause.thousandths / FULL,
        "signal": cause.signal,
        "name": signal.name if signal else "",
        "measured": _number(cause.value),
        "unit": signal.unit if signal else "",
        "comfortable": _number(cause.good),
        "limit": _number(cause.bad),
        "provenance": cause.provenance,
        "source": cause.source,
        "stop": cause.stop,
        "why": cause.why,
    }


def _document_target(target: Target) -> dict[str, Any]:
    return {
        "signal": target.signal,
        "value": _number(target.value),
        "unit": SIGNALS[target.signal].unit,
        "text": show_target(target),
    }


def _number(value: int | None) -> float | None:
    return None if value is None else value / 1_000_000


def _fold(line: str, first: int = 0, rest: int = 2) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent=" " * first, subsequent_indent=" " * rest,
        break_on_hyphens=False,
    )  # fmt: skip
