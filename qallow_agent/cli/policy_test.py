"""What ``policy test`` computes: verdicts of recorded evidence by two policies."""

from collections import Counter
from pathlib import Path
from typing import Any

from qallow_agent.base.errors import UsageError
from qallow_agent.ethics.gate import Admission
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.replay import Change, Outcome, read_evidence, replay
from qallow_agent.ethics.score import Score

_WORDS = {Admission.ADMIT: "admitted", Admission.DEFER: "deferred", Admission.REFUSE: "refused"}


def compare(before: MeshPolicy, after: MeshPolicy, preset: str, path: Path) -> dict[str, Any]:
    """Return, JSON-shaped, what a policy would change of placements recorded in a file.

    Raises:
        UsageError: The file cannot be read, or holds nothing.
        ConfigError: A line of it is no evidence.
    """
    try:
        with path.open("rb") as lines:
            recorded = read_evidence(lines, str(path))
            outcome = replay(recorded, before.policy(preset), after.policy(preset))
    except OSError as error:
        raise UsageError(
            f"the evidence {path} cannot be read: {error.strerror}", hint="name an existing file"
        ) from error
    if not outcome.count:
        raise UsageError(f"{path} holds no evidence", hint="export some from a node that worked")
    return {
        "preset": preset,
        "count": outcome.count,
        "before": _counts(outcome, outcome.before),
        "after": _counts(outcome, outcome.after),
        "changed": outcome.changed,
        "changes": [_change(each) for each in outcome.changes],
    }


def _counts(outcome: Outcome, verdicts: Counter[Admission]) -> dict[str, Any]:
    return {word: verdicts[each] for each, word in _WORDS.items()} | {
        "refused_share": outcome.refusal_rate(verdicts)
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "line": change.line,
        "node": change.evidence.node,
        "device": change.evidence.device,
        "job": change.evidence.job,
        "before": _verdict(*change.before),
        "after": _verdict(*change.after),
        "culprits": list(change.culprits),
    }


def _verdict(admission: Admission, score: Score) -> dict[str, Any]:
    return {
        "verdict": _WORDS[admission],
        "e": score.e / 1000,
        "s": score.s / 1000,
        "c": score.c / 1000,
        "h": score.h / 1000,
        "stops": list(score.stops),
    }
