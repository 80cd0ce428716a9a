"""The validator: judges a decision again, by its evidence and by what the judge saw itself.

Every agent holds the same one. It is deterministic: from the same claim, policy and observations
everybody finds the same. What it cannot know: a sensor that lies plausibly, a fact that was left
out and that nobody else saw, and what a kernel is for.
"""

import msgspec

from qallow_agent.ethics.evidence import MILLION, Evidence, digest
from qallow_agent.ethics.gate import Admission, Gate, Running
from qallow_agent.ethics.plausibility import Finding, implausible, impossible
from qallow_agent.ethics.policy import Policy, policy_digest
from qallow_agent.ethics.records import (
    EVIDENCE_BYTES,
    DecisionRecord,
    Flag,
    device_hash,
    job_hash,
)
from qallow_agent.ethics.score import Score, score
from qallow_agent.ethics.signals import CEILINGS, COMPONENTS, SIGNALS

FRESH_MS = 10_000
"""How old a decision may be when it comes to a validator; an epoch and its gossip take seconds."""
CLOCK_SLACK_US = 1_000
"""How far two honest views of a clock differ beyond their bounds: drift since the last pulse."""
AUDITS = 1_020
"""Most that counts in the agreement of results: 1,000 audits and the 20 to begin with."""
REQUIRED = ("c6", "c8", "h3")
"""What every node can say of itself; leaving it out is no way around a stop."""


class Claim(msgspec.Struct, frozen=True):
    """A decision that another node took, with what it took it by.

    Args:
        evidence: What it says it knew.
        record: What it logged.
        start_ms: When the leaf's interval begins, by its clock.
        policy: Digest of the policy that its leaf names.
    """

    evidence: Evidence
    record: DecisionRecord
    start_ms: int
    policy: bytes


class Observations(msgspec.Struct, frozen=True):
    """What the validator itself saw of the node; None for what it did not.

    Args:
        now_ms: Milliseconds of Unix time by the validator's clock.
        offset_us: The node's clock minus the validator's.
        bound_us: Error bound of that.
        own_us: The validator's own offset against the mesh plus its bound.
        live: Whom the validator believes alive, itself included.
        their_live: Whom the node says it believes alive, itself included.
        likeness: How alike the two are, in millionths, where that alone is known.
        forked: Whether the validator holds proof that the node's ledger is forked.
        disagreements: Audits in which the node's device is known to have been wrong.
        heard: The validator has heard the node as a peer.
        trail: Earlier evidence of the same device, the oldest first.
    """

    now_ms: int
    offset_us: int | None = None
    bound_us: int = 0
    own_us: int = 0
    live: tuple[str, ...] = ()
    their_live: tuple[str, ...] = ()
    likeness: int | None = None
    forked: bool = False
    disagreements: int = 0
    heard: bool = True
    trail: tuple[Evidence, ...] = ()


def revalidate(claim: Claim, policy: Policy, seen: Observations) -> list[Finding]:
    """Return what is wrong with a decision; nothing when the validator would have decided alike.

    Args:
        claim: The decision and its evidence.
        policy: The policy that the node says it judged by, as the validator holds it.
        seen: What the validator knows itself.
    """
    evidence = claim.evidence
    found = [
        *_match(claim, policy),
        *_missing(evidence),
        *_freshness(claim, seen),
        *implausible(evidence),
        *impossible((*seen.trail, evidence)),
    ]
    again = score(evidence, policy, evidence.at_ms)
    found += _components(claim.record, again)
    found += _verdict(claim.record, again, policy.threshold)
    found += _observed(evidence, policy, seen)
    return found


def _match(claim: Claim, policy: Policy) -> list[Finding]:
    """Return where a record is not that of its evidence, or the policy another one."""
    evidence, record = claim.evidence, claim.record
    found: list[Finding] = []
    if record.evidence != digest(evidence)[:EVIDENCE_BYTES]:
        found.append(Finding("", "the record names other evidence"))
    if record.job != job_hash(evidence.job) or record.device != device_hash(evidence.device):
        found.append(Finding("", "the record names another job or device"))
    if record.ms != evidence.at_ms - claim.start_ms:
        found.append(Finding("", "the record names another time"))
    if claim.policy != policy_digest(policy):
        found.append(Finding("h3", "the leaf names another policy"))
    return found


def _missing(evidence: Evidence) -> list[Finding]:
    wanted = (*REQUIRED, "c7") if evidence.job else REQUIRED
    return [
        Finding(each, "nothing is said about it") for each in wanted if evidence.find(each) is None
    ]


def _freshness(claim: Claim, seen: Observations) -> list[Finding]:
    """Judge age by the validator's clock, corrected by what it knows of the node's."""
    age_ms = seen.now_ms - claim.evidence.at_ms + (seen.offset_us or 0) // 1000
    if age_ms > FRESH_MS:
        return [Finding("", f"the evidence is {age_ms / 1000:.1f} s old")]
    if age_ms < -FRESH_MS:
        return [Finding("", f"the evidence is {-age_ms / 1000:.1f} s in the future")]
    return []


def _components(record: DecisionRecord, again: Score) -> list[Finding]:
    """Return where the evidence gives another score, or another culprit, than was logged."""
    found: list[Finding] = []
    claimed = (record.s, record.c, record.h)
    for place, component in enumerate(COMPONENTS):
        name = again.culprits[place] or CEILINGS[component]
        mine = again.component(component)
        if claimed[place] != mine:
            words = f"{component.upper()} is {claimed[place]} in the record, {mine} by the evidence"
            found.append(Finding(name, words))
            continue
        code = SIGNALS[again.culprits[place]].code if again.culprits[place] else 0
        if record.culprits[place] != code:
            words = f"culprit {record.culprits[place]} in the record, {code} by the evidence"
            found.append(Finding(name, words))
    return found


def _verdict(record: DecisionRecord, again: Score, threshold: int) -> list[Finding]:
    """Return where the verdict is none that the ladder gives, whatever was before."""
    plain = Gate(threshold).look("", again, 0.0)
    allowed = [(plain.admission, plain.running)]
    if plain.admission is Admission.ADMIT:  # unless a close was before
        allowed.append((Admission.DEFER, Running.NORMAL))
    verdict = (record.admission, record.running)
    worst = min(COMPONENTS, key=again.component)
    name = again.stops[0] if again.stops else again.culprits[COMPONENTS.index(worst)]
    if verdict not in allowed:
        words = f"E {again.e} means {plain.admission:d} and {plain.running:d}"
        return [Finding(name, f"{words}, not {record.admission} and {record.running}")]
    flagged = bool(record.flags & Flag.STOPPED)
    if flagged != bool(again.stops):
        return [Finding(name, "the record tells of a stop otherwise than the evidence")]
    return []


def _observed(evidence: Evidence, policy: Policy, seen: Observations) -> list[Finding]:
    """Return where the evidence contradicts what the validator saw itself."""
    found: list[Finding] = []
    clock = _given(evidence, "h1")
    if clock is not None and seen.offset_us is not None:
        least_us = abs(seen.offset_us) - seen.bound_us - seen.own_us
        if least_us > clock + CLOCK_SLACK_US:  # millionths of a second are microseconds
            words = f"claims {clock / 1000:g} ms, is off by {least_us / 1000:g} ms at least"
            found.append(Finding("h1", words))
    if seen.forked and _given(evidence, "h5") != 0:
        found.append(Finding("h5", "claims to be sound, and is proved to be forked"))
    agreement = _given(evidence, "h2")
    most = (AUDITS - min(AUDITS, seen.disagreements)) * MILLION // AUDITS
    if agreement is not None and seen.disagreements and agreement > most:
        words = f"claims {agreement / MILLION:g}; with {seen.disagreements} disagreements"
        found.append(Finding("h2", f"{words} it is {most / MILLION:g} at most"))
    if seen.heard and _given(evidence, "h.known") == 0:
        found.append(Finding("h.known", "claims to be alone, and is heard"))
    return found + _views(evidence, policy, seen)


def _views(evidence: Evidence, policy: Policy, seen: Observations) -> list[Finding]:
    """Object to a comfortable likeness only where ours is at the hard limit: theirs is a median."""
    claimed, signal = _given(evidence, "h4"), SIGNALS["h4"]
    ends = policy.ramps.get("h4")
    bad, good = (ends.bad, ends.good) if ends else (signal.bad or 0, signal.good or 0)
    likeness = seen.likeness
    if likeness is None and seen.live and seen.their_live:
        mine, theirs = frozenset(seen.live), frozenset(seen.their_live)
        likeness = len(mine & theirs) * MILLION // len(mine | theirs)
    if claimed is None or likeness is None:
        return []
    if claimed >= good and likeness <= bad:
        words = f"claims a likeness of {claimed / MILLION:g}, is {likeness / MILLION:g} like ours"
        return [Finding("h4", words)]
    return []


def _given(evidence: Evidence, name: str) -> int | None:
    item = evidence.find(name)
    return None if item is None else item.value
