"""The parts of the governance page that come from the code: tables, and refusals as they read."""

import json
import re
from collections.abc import Callable

from qallow_agent.ethics.evidence import Evidence
from qallow_agent.ethics.examples import START_MS, comfortable
from qallow_agent.ethics.gate import (
    DEFER_DEPTH,
    REFUSE_DEPTH,
    REOPEN_HELD_S,
    REOPEN_MARGIN,
    Gate,
)
from qallow_agent.ethics.policy import DEFAULT_THRESHOLD, Policy, PresetName, preset
from qallow_agent.ethics.refusal import Elsewhere, Position, Refusal, document, refuse, text
from qallow_agent.ethics.remedies import REMEDIES
from qallow_agent.ethics.score import ramp_of, score
from qallow_agent.ethics.signals import NEVER_MS, SCORED, SIGNALS, Signal
from qallow_agent.ethics.words import show_thousandths, show_value

PAGE = "docs/governance.md"
_BLOCK = re.compile(r"(<!-- from the code: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PRESETS: tuple[PresetName, ...] = ("desktop", "dedicated", "field")
_BLIND = ("s1", "s2", "s.power", "s.temperature", "c1.cpu", "c1.io", "c1.memory", "c5")
_LEDGER = Position("mesh.example/nano1", 48_213)


def fill(page: str) -> str:
    """Return the governance page with each of its marked blocks as the code says it now."""
    return _BLOCK.sub(lambda found: found[1] + _BLOCKS[found[2]]() + "\n" + found[3], page)


def _signals() -> str:
    lines = ["| signal | what it is | limit | comfortable | known for |", "|---|---|---|---|---|"]
    for signal in SCORED:
        what = f"**{signal.name}**: {signal.measures}"
        if signal.role == "ceiling":
            lines.append(f"| `{signal.id}` | {what} | | | |")
            continue
        age = "until changed" if signal.age_ms == NEVER_MS else _age(signal.age_ms)
        ends = _ends(signal, preset("desktop"))
        lines.append(f"| `{signal.id}` | {what} | {ends[0]} | {ends[1]} | {age} |")
    return "\n".join(lines)


def _presets() -> str:
    policies = [preset(name) for name in _PRESETS]
    lines = ["| signal | `desktop` | `dedicated` | `field` |", "|---|---|---|---|"]
    for signal in SCORED:
        cells = [_cell(signal, each) for each in policies]
        if len(set(cells)) > 1:
            lines.append(f"| `{signal.id}` {signal.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ladder() -> str:
    top, middle, low = (
        show_thousandths(DEFAULT_THRESHOLD - depth) for depth in (0, DEFER_DEPTH, REFUSE_DEPTH)
    )
    again = show_thousandths(DEFAULT_THRESHOLD + REOPEN_MARGIN)
    after = f"after a close from {again} on, held for {REOPEN_HELD_S:g} s"
    stops: dict[str, list[str]] = {}
    for signal in SCORED:
        if signal.stop:
            stops.setdefault(f"{signal.stop_s:g} s", []).append(f"`{signal.id}`")
    within = "; ".join(f"{', '.join(ids)} within {time}" for time, ids in sorted(stops.items()))
    return "\n".join(
        (
            "| E | new work | running work |",
            "|---|---|---|",
            f"| {top} and more | admitted; {after} | goes on |",
            f"| {middle} and more | waits, or goes to a peer when its deadline is near | goes on |",
            f"| {low} and more | refused | throttled: fewer slots |",
            f"| less than {low} | refused | saved and moved |",
            f"| a stop | refused | ended: {within} |",
        )
    )


def _remedies() -> str:
    lines = ["| signal | what helps |", "|---|---|"]
    for name, remedies in REMEDIES.items():
        words = [f"{each.text}{f' (`{each.command}`)' * bool(each.command)}" for each in remedies]
        lines.append(f"| `{name}` {SIGNALS[name].name} | {'; '.join(words)} |")
    return "\n".join(lines)


def _busy() -> Refusal:
    return _refusal(
        comfortable({"c3": 0.41}),
        slopes={"c3": -2_500},
        elsewhere=(Elsewhere("nano2", "cpu0", 2_981, 3_200),),
    )


def _refusal(
    evidence: Evidence,
    *,
    slopes: dict[str, int] | None = None,
    elsewhere: tuple[Elsewhere, ...] = (),
) -> Refusal:
    policy = preset("desktop")
    found = score(evidence, policy, START_MS)
    verdict = Gate(policy.threshold).judge(evidence.device, found, 0.0)
    return refuse(
        evidence, found, policy, verdict, slopes=slopes, elsewhere=elsewhere, ledger=_LEDGER
    )


def _fenced(body: str, language: str = "text") -> str:
    return f"```{language}\n{body}\n```"


def _ends(signal: Signal, policy: Policy) -> tuple[str, str]:
    ends = ramp_of(signal, policy)
    if ends is None:
        return "", ""
    if signal.stop:
        return f"{ends.bad // 1_000_000}: {signal.stop}", str(ends.good // 1_000_000)
    if signal.unit == "flag":
        return str(ends.bad // 1_000_000), str(ends.good // 1_000_000)
    return show_value(ends.bad, signal.unit), show_value(ends.good, signal.unit)


def _cell(signal: Signal, policy: Policy) -> str:
    return "skipped" if signal.id in policy.skipped else " to ".join(_ends(signal, policy))


def _age(age_ms: int) -> str:
    return show_value(age_ms * 1000, "seconds")


_BLOCKS: dict[str, Callable[[], str]] = {
    "signals": _signals,
    "presets": _presets,
    "ladder": _ladder,
    "remedies": _remedies,
    "refusal": lambda: _fenced(text(_busy())),
    "refusal-document": lambda: _fenced(json.dumps(document(_busy()), indent=2), "json"),
    "pause": lambda: _fenced(text(_refusal(comfortable({"c8": 0})))),
    "blind": lambda: _fenced(text(_refusal(comfortable({"h.fresh": 0}, without=_BLIND)))),
}
