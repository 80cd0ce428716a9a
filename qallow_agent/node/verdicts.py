"""Verdicts in one line: what an advert, a lease refusal and ``status`` say of a closed gate."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from qallow_agent.base.errors import EXIT_NOT_ALLOWED, EXIT_TRY_LATER
from qallow_agent.base.ids import JobId
from qallow_agent.base.machine import Instant
from qallow_agent.ethics.gate import Admission, Verdict
from qallow_agent.ethics.refusal import Cause, Fix, Refusal
from qallow_agent.ethics.signals import COMPONENTS, SIGNALS
from qallow_agent.ethics.words import show_thousandths, show_value
from qallow_agent.mesh.adverts.advert import MAX_WORDS
from qallow_agent.mesh.wire.gate import GateReport, GateState

_STATES = {
    Admission.ADMIT: GateState.OPEN,
    Admission.DEFER: GateState.DEFERS,
    Admission.REFUSE: GateState.REFUSES,
}

_CODES: Mapping[GateState, Literal["deferred", "refused", "stopped"]] = {
    GateState.OPEN: "deferred",
    GateState.DEFERS: "deferred",
    GateState.REFUSES: "refused",
    GateState.FORBIDS: "stopped",
}


def stage_of(verdict: Verdict, refusal: Refusal | None) -> GateState:
    """Return what a gate does with new work."""
    if refusal is not None and refusal.exit_code == EXIT_NOT_ALLOWED:
        return GateState.FORBIDS
    return _STATES[verdict.admission]


def brief(refusal: Refusal) -> str:
    """Return why work is not admitted, in one line that names the culprit and its value."""
    worst = refusal.causes[0]
    if refusal.code == "stopped":
        return _cut(_stopped(worst))
    if refusal.e >= refusal.needed:
        return f"it closed a moment ago and opens once E {show_thousandths(refusal.needed)} held"
    scores = f"E {show_thousandths(refusal.e)}, {show_thousandths(refusal.needed)} needed"
    return _cut(f"{_said(worst)} ({scores})")


def first_fix(refusal: Refusal) -> str:
    """Return the cheapest thing that would get work admitted, in one line."""
    if not refusal.fixes:
        return ""
    fix = refusal.fixes[0]
    return _cut(f"{fix.text}: {'; '.join(fix.commands)}" if fix.commands else fix.text)


def heard(
    gate: GateReport, job: JobId, node: str, device: str, threshold: int, now: Instant
) -> Refusal:
    """Return why a device of another node is closed, as far as its advert says."""
    parts = zip(COMPONENTS, (gate.s, gate.c, gate.h), gate.culprits, strict=True)
    first, *others = sorted((Cause(*each) for each in parts), key=lambda each: each.thousandths)
    stop = gate.why if gate.state is GateState.FORBIDS else ""
    first = msgspec.structs.replace(first, why="" if stop else gate.why, stop=stop)
    return Refusal(
        job=job,
        node=node,
        device=device,
        at_ms=now.wall_ns // 1_000_000,
        code=_CODES[gate.state],
        e=gate.e,
        threshold=threshold,
        needed=threshold,
        causes=(first, *others),
        targets=(),
        overrides=(),
        fixes=(Fix("act", gate.fix),) if gate.fix else (),
        exit_code=EXIT_NOT_ALLOWED if gate.state is GateState.FORBIDS else EXIT_TRY_LATER,
        evidence="",
        policy=gate.policy.hex(),
    )


def _stopped(cause: Cause) -> str:
    signal = SIGNALS.get(cause.signal)
    stop = signal.stop if signal is not None else cause.signal
    return f"{stop}: {cause.why}" if cause.why else stop


def _said(cause: Cause) -> str:
    signal = SIGNALS.get(cause.signal)
    if signal is None:
        return "its score is too low"
    if signal.role == "ceiling":
        return f"{signal.name}: {cause.why}"
    said = f"{signal.name} is {show_value(cause.value, signal.unit)}"
    if cause.good is not None:
        said += f", comfortable from {show_value(cause.good, signal.unit)}"
    return f"{said}: {cause.why}" if cause.why else said


def _cut(line: str) -> str:
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"
