"""Latitude: whether the policy that a node judged by is its mesh's, or a stricter form of it.

Nodes of one mesh are judged by different policies: by preset, by what owners ask beyond the mesh,
and by what they do without for a while. Whoever judges a decision again needs that policy, and
must not believe a laxer one.
"""

from collections.abc import Iterator

import msgspec

from qallow_agent.base.errors import Malformed
from qallow_agent.ethics.bounds import override_faults
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.owner import LONGEST_OVERRIDE_S, stricter_ramp
from qallow_agent.ethics.policy import Override, Policy

_SLACK_MS = 300_000
"""How far an honest owner's clock may be ahead when an override is counted from it."""

_SAME = (
    "version", "grants", "observers", "administrators", "zones", "committee", "prices",
)  # fmt: skip
_DECODER = msgspec.msgpack.Decoder(Policy)
_ENCODER = msgspec.msgpack.Encoder()


def encode_in_force(policy: Policy) -> bytes:
    """Return the bytes by which a peer is told what a node was judged by."""
    return _ENCODER.encode(policy)


def decode_in_force(data: bytes) -> Policy:
    """Return the policy that a peer says it judged by; nothing of it is believed yet.

    Raises:
        Malformed: The bytes are none.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"bytes are no policy in force: {error}") from error


def beyond(mesh: MeshPolicy, claimed: Policy, now_ms: int) -> str:
    """Return what a node's policy permits beyond its mesh's; empty when nothing.

    Args:
        mesh: The mesh's policy, as the judge holds it.
        claimed: What the node says it judged by.
        now_ms: When, milliseconds of Unix time by the judge's clock.
    """
    if claimed.preset not in mesh.presets:
        return f"the mesh has no preset {claimed.preset[:40]!r}"
    base = mesh.policy(claimed.preset)
    faults = (*_laxer(base, claimed), *_exceptions(mesh, claimed.overrides, now_ms))
    return next(iter(faults), "")


def _laxer(base: Policy, claimed: Policy) -> Iterator[str]:
    """Yield in what a policy permits more than another."""
    for name in _SAME:
        if getattr(claimed, name) != getattr(base, name):
            yield f"{name} is not the mesh's"
    if claimed.threshold < base.threshold:
        yield f"threshold {claimed.threshold} is below the mesh's {base.threshold}"
    if claimed.ramps.keys() != base.ramps.keys():
        yield "its ramps are of other signals than the mesh's"
        return
    for signal, ramp in base.ramps.items():
        if stricter_ramp(ramp, claimed.ramps[signal]) != claimed.ramps[signal]:
            yield f"the ramp of {signal} is laxer than the mesh's"
    if not set(claimed.skipped) <= set(base.skipped):
        yield "it leaves out signals that count in the mesh"
    if not set(base.quiet) <= set(claimed.quiet):
        yield "it leaves out quiet hours of the mesh"
    if (claimed.consent and not base.consent) or (claimed.dvfs and not base.dvfs):
        yield "it permits what the mesh does not"


def _exceptions(mesh: MeshPolicy, overrides: tuple[Override, ...], now_ms: int) -> Iterator[str]:
    """Yield which override is neither the mesh's nor one that an owner may make for a day."""
    latest_ms = now_ms + LONGEST_OVERRIDE_S * 1000 + _SLACK_MS
    for each in overrides:
        if each in mesh.overrides:
            continue
        if each.until_ms > latest_ms or any(override_faults(each, ("override",))):
            yield f"an owner cannot override {each.signal[:8]} until {each.until_ms}"
