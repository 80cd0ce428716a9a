"""Replay: what another policy would have made of evidence that was recorded."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from qallow_agent.base.errors import ConfigError
from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.gate import Admission, Gate
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.score import Score, score

MOST_SHOWN = 1_000
"""Changes that are kept to be shown; all are counted."""

_DECODER = msgspec.json.Decoder(Evidence)


class _Wrapped(msgspec.Struct, frozen=True):
    evidence: Evidence


_WRAPPED = msgspec.json.Decoder(_Wrapped)


@dataclass(frozen=True, slots=True)
class Change:
    """One placement whose verdict would be another.

    Args:
        line: Where its evidence stands, from 1.
        evidence: What was known.
        before: Its verdict and score by the policy in force.
        after: Its verdict and score by the candidate.
    """

    line: int
    evidence: Evidence
    before: tuple[Admission, Score]
    after: tuple[Admission, Score]

    @property
    def culprits(self) -> tuple[str, ...]:
        """The signals to blame, or to thank, for the change: of each component that differs."""
        old, new = self.before[1], self.after[1]
        worse = new if new.e <= old.e else old
        pairs = zip((old.s, old.c, old.h), (new.s, new.c, new.h), worse.culprits, strict=True)
        return tuple(culprit for was, now, culprit in pairs if was != now and culprit)


@dataclass(slots=True)
class Outcome:
    """What became of all evidence, by both policies."""

    count: int = 0
    before: Counter[Admission] = field(default_factory=Counter)
    after: Counter[Admission] = field(default_factory=Counter)
    changed: int = 0
    changes: list[Change] = field(default_factory=list)

    def refusal_rate(self, verdicts: Counter[Admission]) -> float:
        """Return the share of placements that are refused, which defers not count towards."""
        return verdicts[Admission.REFUSE] / self.count if self.count else 0.0


def replay(evidence: Iterable[tuple[int, Evidence]], before: Policy, after: Policy) -> Outcome:
    """Return what two policies make of recorded evidence by line, each judged at its own moment.

    Every placement is judged for itself: what a gate remembers depends on the order of all, which
    a record of some does not have.
    """
    outcome = Outcome()
    gates = (Gate(before.threshold), Gate(after.threshold))
    for line, each in evidence:
        scores = tuple(score(each, policy, each.at_ms) for policy in (before, after))
        old, new = (
            gate.look("replay", value, 0.0).admission
            for gate, value in zip(gates, scores, strict=True)
        )
        outcome.count += 1
        outcome.before[old] += 1
        outcome.after[new] += 1
        if old != new:
            outcome.changed += 1
            if len(outcome.changes) < MOST_SHOWN:
                outcome.changes.append(Change(line, each, (old, scores[0]), (new, scores[1])))
    return outcome


def read_evidence(lines: Iterable[bytes], name: str) -> Iterable[tuple[int, Evidence]]:
    """Yield line numbers and evidence of JSON lines, each an array or an object with one inside.

    Raises:
        ConfigError: A line is none; names the line.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            found = _WRAPPED.decode(text).evidence if text[:1] == b"{" else _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f"{name}, line {number}: this is no evidence: {error}",
                hint="one JSON array a line, as decisions are exported",
            ) from error
        yield number, found
