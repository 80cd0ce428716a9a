"""What is said in a receipt: a job's record, as its desk knows it, in whole numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from qallow_agent.base.errors import Malformed
from qallow_agent.base.joules import Joules, total
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.score import Score
from qallow_agent.jobs.messages import JobState
from qallow_agent.jobs.model import EnergyTab, JobRecord
from qallow_agent.jobs.tabs import pending
from qallow_agent.ledger import receipt as leaves

_MOST: Final = float(1 << 62)
_ENDS: Mapping[JobState, leaves.End] = {
    JobState.SUCCEEDED: "succeeded", JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled", JobState.EXPIRED: "expired",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remarks:
    """What others know of a job that is over, for its receipt.

    Args:
        admissions: By ``node-name/device``, under which score the work was taken there.
        flags: Such as ``incoherent``.
        replicas: On how many devices each audited task was run; 0 for no audit.
        validators: Nodes that assented.
    """

    admissions: Mapping[str, leaves.Admission] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    replicas: int = 0
    validators: tuple[str, ...] = ()


def receipt_of(record: JobRecord, node: str, bound_s: Seconds, remarks: Remarks) -> leaves.Receipt:
    """Return the receipt of a job that is over.

    Args:
        record: What the desk knows of it.
        node: Whose desk that is.
        bound_s: How far this node's wall clock may be from the truth; infinite when unknown.
        remarks: What others know of it.
    """
    printed, submitted_ms = record.printed, _ms(record.submitted_s)
    executors = _executors(record, remarks)
    return leaves.Receipt(
        version=leaves.VERSION,
        job=record.id,
        node=node,
        kernel=_text(record.kernel),
        kernel_hash=_text(record.kernel_hash),
        inputs=printed.inputs,
        outputs=printed.outputs,
        columns=tuple(
            leaves.Column(_text(each.name), _text(each.dtype), each.shape)
            for each in printed.columns
        ),
        end=_ENDS.get(record.state, "failed"),
        points=record.points,
        done=record.done,
        failed=record.failed,
        rerun=record.rerun,
        submitted_ms=submitted_ms,
        ended_ms=max(submitted_ms, _ms(record.ended_s)),
        bound_ms=math.ceil(bound_s * 1e3) if math.isfinite(bound_s) else leaves.UNKNOWN,
        energy=_energy(total(tab.joules for tab in record.energy), ""),
        executors=executors,
        left_out=0,
        flags=remarks.flags[:16],
        replicas=remarks.replicas,
        validators=remarks.validators[:31],
    )


def _executors(record: JobRecord, remarks: Remarks) -> tuple[leaves.Executor, ...]:
    """Return the devices that had a lease, those that did most first."""
    tabs: dict[str, list[EnergyTab]] = {}
    for tab in record.energy:
        tabs.setdefault(tab.place, []).append(tab)
    late = frozenset(pending(record))
    found = [
        leaves.Executor(
            node=each[0].node,
            place=_text(place),
            points=record.share.get(place, 0),
            ops=_whole(sum(tab.ops for tab in each)),
            busy_us=_whole(sum(tab.busy_s for tab in each) * 1e6),
            energy=_energy(total(tab.joules for tab in each), place if place in late else ""),
            admission=remarks.admissions.get(place) or _admission(record.admitted.get(place)),
        )
        for place, each in tabs.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.points, each.place)))


def score_of(score: Score, evidence: bytes, policy: Policy, origin: str) -> bytes:
    """Return what an executor tells with a lease: the score under which it takes the work.

    Args:
        score: Of the placement.
        evidence: Its digest.
        policy: What it was judged by.
        origin: The executor's log, in which the decision is written with the others of its second.
    """
    found = leaves.Admission(
        s=score.s,
        c=score.c,
        h=score.h,
        e=score.e,
        culprits=score.culprits,
        evidence=evidence,
        policy=policy_digest(policy),
        origin=origin,
        index=leaves.UNKNOWN,
    )
    return leaves.pack_admission(found)


def _admission(told: bytes | None) -> leaves.Admission | None:
    """Return what an executor said of its score; None when that is nothing, or nonsense."""
    if not told:
        return None
    try:
        return leaves.unpack_admission(told)
    except Malformed:
        return None


def _energy(joules: Joules, silent: str) -> leaves.Energy:
    """Return joules as whole microjoules, which keep the order of the bounds.

    Args:
        joules: What is known.
        silent: The device that did not tell the rest in time, if one did not.
    """
    gross, net = _whole(joules.gross_j * 1e6), _whole(joules.net_j * 1e6)
    low, high = _whole(joules.low_j * 1e6), _whole(joules.high_j * 1e6)
    net = min(net, gross)
    known = "unknown" if silent else joules.provenance
    why = f"{silent} has not told all that it used" if silent else joules.why
    return leaves.Energy(gross, net, min(low, net), max(high, gross), known, _text(why))


def _whole(value: float) -> int:
    return round(min(max(value, 0.0), _MOST))


def _ms(wall_s: Seconds) -> int:
    return max(0, round(wall_s * 1e3))


def _text(text: str) -> str:
    return text[: leaves.MAX_TEXT]
