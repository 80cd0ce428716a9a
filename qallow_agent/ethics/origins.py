"""Origins: for everything that is in force on a node, who said so."""

from typing import Any

import msgspec

from qallow_agent.base.machine import Instant
from qallow_agent.ethics.clauses import Grant
from qallow_agent.ethics.evidence import MILLION
from qallow_agent.ethics.hours import show_hours
from qallow_agent.ethics.mesh_policy import MeshPolicy, built_in
from qallow_agent.ethics.owner import Pause
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.provisions import Provisions
from qallow_agent.ethics.signals import TABLE

BUILT_IN = "built-in"
OWNER = "owner"


def describe(holds: Provisions, now: Instant) -> dict[str, Any]:
    """Return what is in force, JSON-shaped, with where each value comes from."""
    policy = holds.effective(now)
    name, said_by = holds.preset
    pause = holds.exceptions.pause
    mesh = f"mesh v{holds.mesh.version}" if holds.mesh.version else BUILT_IN
    return {
        "version": holds.mesh.version,
        "digest": holds.digest.hex(),
        "effective": holds.effective_digest(now).hex(),
        "adopted_s": holds.held.adopted_ms / 1000 or None,
        "preset": {"name": policy.preset, "wanted": name, "from": said_by},
        "threshold": {
            "value": policy.threshold / 1000,
            "from": _from(holds, policy.threshold, "threshold"),
        },
        "signals": signals(holds, policy),
        "submit": [_grant(each, mesh) for each in policy.grants]
        + [_grant(each, OWNER) for each in policy.own_grants],
        "observe": list(policy.observers),
        "administer": list(policy.administrators),
        "zones": {zone: list(each.classes) for zone, each in policy.zones.items()},
        "own_classes": list(policy.own_classes),
        "quiet": [
            {"hours": show_hours(each), "from": mesh if each in holds.mesh.quiet else OWNER}
            for each in policy.quiet
        ],
        "quiet_until_s": holds.quiet_until_s(now),
        "consent": policy.consent,
        "pause": None if pause is None else _pause(pause),
        "overrides": [
            {
                "signal": each.signal,
                "until_s": each.until_ms / 1000,
                "why": each.reason,
                "from": mesh if each in holds.mesh.overrides else OWNER,
            }
            for each in policy.overrides
        ],
        "committee": msgspec.to_builtins(policy.committee),
        "prices": [each / MILLION for each in policy.prices],
        "dvfs": policy.dvfs,
    }


def signals(holds: Provisions, policy: Policy) -> list[dict[str, Any]]:
    """Return every signal that a policy has a ramp or a word for, in the table's order."""
    overridden = {each.signal for each in policy.overrides}
    rows = []
    for signal in TABLE:
        if signal.role != "signal":
            continue
        ramp = policy.ramps.get(signal.id)
        skipped = signal.id in policy.skipped
        rows.append(
            {
                "signal": signal.id,
                "name": signal.name,
                "unit": signal.unit,
                "bad": None if ramp is None else ramp.bad / MILLION,
                "good": None if ramp is None else ramp.good / MILLION,
                "state": "overridden"
                if signal.id in overridden
                else "skipped"
                if skipped
                else "counts",
                "from": _from_profile(holds, policy, signal.id),
            }
        )
    return rows


def _from(holds: Provisions, value: object, field: str) -> str:
    """Return who said a value that mesh and owner share a field for."""
    if value != getattr(holds.mesh, field):
        return OWNER
    return _mesh_or_built_in(holds.mesh, value, getattr(built_in(), field))


def _from_profile(holds: Provisions, policy: Policy, signal: str) -> str:
    profile = holds.mesh.presets[policy.preset]
    mine = (policy.ramps.get(signal), signal in policy.skipped)
    if mine != (profile.ramps.get(signal), signal in profile.skipped):
        return OWNER
    usual = built_in().presets[policy.preset]
    theirs = (usual.ramps.get(signal), signal in usual.skipped)
    return _mesh_or_built_in(holds.mesh, mine, theirs)


def _mesh_or_built_in(mesh: MeshPolicy, value: object, usual: object) -> str:
    return f"mesh v{mesh.version}" if mesh.version and value != usual else BUILT_IN


def _grant(grant: Grant, source: str) -> dict[str, Any]:
    return {
        "who": list(grant.who),
        "kernels": list(grant.kernels),
        "zones": list(grant.zones),
        "from": source,
    }


def _pause(pause: Pause) -> dict[str, Any]:
    return {
        "since_s": pause.since_ms / 1000,
        "until_s": None if pause.until_ms is None else pause.until_ms / 1000,
        "why": pause.why,
    }
