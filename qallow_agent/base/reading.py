"""A reading: one measured value that remembers where it comes from."""

from typing import Literal

import msgspec

Provenance = Literal["measured", "estimated", "unknown"]


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value with its unit, source and provenance; ``value`` is None only when unknown.

    Args:
        value: The number in ``unit``.
        unit: ``ratio``, ``bytes``, ``celsius``, ``watts``, ``joules``, ``hertz``, ``count``.
        source: Where it was read, e.g. ``psutil.virtual_memory`` or ``nvml``.
        provenance: Whether it was measured, estimated (by a named model) or is unknown.
        why: For unknown values the reason; for estimates the model.
    """

    value: float | None
    unit: str
    source: str
    provenance: Provenance = "measured"
    why: str = ""


def unknown(unit: str, source: str, why: str) -> Reading:
    """Return a reading that says plainly that nothing was read, and why."""
    return Reading(None, unit, source, "unknown", why)
