"""Policies as text: TOML that can be edited and set again."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from qallow_agent.ethics.bounds import RAMPED
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.evidence import MILLION
from qallow_agent.ethics.hours import DAYS, Hours, show_clock, show_offset
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.owner import OwnerPolicy
from qallow_agent.ethics.policy import Ramp
from qallow_agent.ethics.signals import SIGNALS

HEAD = """\
# A policy of a mesh. 'qallow-agent policy validate FILE' checks it, 'policy test FILE --replay
# EVIDENCE' says what it would change, 'policy set FILE' signs it and spreads it.
# What is left out is as the agent comes; ends of ramps are in the unit of their signal.
"""


def mesh_text(policy: MeshPolicy) -> str:
    """Return the document of a mesh's policy; the version is left out, for the next one to get."""
    lines = [
        HEAD,
        f"threshold = {policy.threshold / 1000:.3f}",
        f"dvfs = {_flag(policy.dvfs)}",
        f"allow_presets = {_words(policy.presets)}",
        f"observe = {_words(policy.observers)}",
        f"administer = {_words(policy.administrators)}",
        f"prices = [{', '.join(f'{each / MILLION:g}' for each in policy.prices)}]",
    ]
    lines += ["", "[committee]", f"size = {policy.committee.size}"]
    members = policy.committee.members
    lines.append(f"members = {_words(members)}" if members else 'members = "auto"')
    for name, profile in policy.presets.items():
        lines += ["", f"[presets.{name}]", f"skipped = {_words(profile.skipped)}"]
        lines += ["", f"[presets.{name}.ramps]", *_ramps(profile.ramps)]
    for zone, clause in policy.zones.items():
        lines += ["", f"[zones.{_key(zone)}]", f"classes = {_words(clause.classes)}"]
    lines += [*_grants(policy.grants), *_quiet(policy.quiet)]
    for override in policy.overrides:
        until = datetime.fromtimestamp(override.until_ms / 1000, UTC)
        lines += ["", "[[overrides]]", f"signal = {_text(override.signal)}"]
        lines += [f"until = {until.isoformat()}", f"why = {_text(override.reason)}"]
    return "\n".join(lines) + "\n"


def owner_text(policy: OwnerPolicy) -> str:
    """Return the document of an owner's policy."""
    lines = []
    if policy.threshold:
        lines.append(f"threshold = {policy.threshold / 1000:.3f}")
    lines += [
        f"consent = {_flag(policy.consent)}",
        f"dvfs = {_flag(policy.dvfs)}",
        f"classes = {_words(policy.classes)}",
        f"required = {_words(policy.required)}",
    ]
    if policy.ramps:
        lines += ["", "[ramps]", *_ramps(policy.ramps)]
    lines += [*_grants(policy.grants), *_quiet(policy.quiet)]
    return "\n".join(lines) + "\n"


def _ramps(ramps: Mapping[str, Ramp]) -> list[str]:
    """Return one line a ramp, with what it is about; those that stop work are never another."""
    lines = []
    for name in RAMPED:
        if name in ramps and not SIGNALS[name].stop:
            bad, good = ramps[name].bad / MILLION, ramps[name].good / MILLION
            signal = SIGNALS[name]
            ends = f"{{ bad = {bad:.15g}, good = {good:.15g} }}"
            lines.append(f"{_key(name)} = {ends} # {signal.name}, {signal.unit}")
    return lines


def _grants(grants: Iterable[Grant]) -> list[str]:
    lines = []
    for grant in grants:
        lines += ["", "[[submit]]", f"who = {_words(grant.who)}"]
        lines += [f"kernels = {_words(grant.kernels)}", f"zones = {_words(grant.zones)}"]
    return lines


def _quiet(spans: Iterable[Hours]) -> list[str]:
    lines = []
    for hours in spans:
        lines += ["", "[[quiet]]", f'from = "{show_clock(hours.start_m)}"']
        lines += [f'until = "{show_clock(hours.end_m)}"']
        lines += [f"days = {_words(DAYS[day] for day in hours.days)}"]
        lines += [f'offset = "{show_offset(hours.offset_m)}"']
    return lines


def _words(words: Iterable[str]) -> str:
    return f"[{', '.join(_text(word) for word in words)}]"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _text(name)


def _flag(flag: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if flag else "false"
