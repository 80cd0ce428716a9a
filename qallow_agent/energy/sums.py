"""Sums by day: what jobs of this node used by kernel and device, and what its devices drew.

Days are of UTC. The book survives restarts; its oldest days go when it is full.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from qallow_agent.base.errors import StorageCorrupt
from qallow_agent.base.joules import Joules
from qallow_agent.base.machine import Effect, Instant, Persist
from qallow_agent.base.reading import Provenance
from qallow_agent.base.units import Seconds

DAY_S: Seconds = 86_400.0
NAME = "energy/sums"
_MOST_DAYS = 400
_MOST_SUMS = 4_096
_SOON_S: Seconds = 60.0
_LATER_S: Seconds = 900.0
"""Work is kept within a minute; what a device draws at rest is not worth a write a minute."""


Sum = TypeVar("Sum")


class WorkSum(msgspec.Struct, omit_defaults=True):
    """What one kernel used on one device, in one day.

    Args:
        place: ``node-name/device``.
        ops: Operations of the part that was measured.
        busy_s: Seconds in which runners computed, measured or not.
        unknown_s: Those of them whose energy nobody knows.
    """

    day: int
    kernel: str
    place: str
    joules: Joules = Joules()
    ops: float = 0.0
    busy_s: Seconds = 0.0
    unknown_s: Seconds = 0.0


class DeviceSum(msgspec.Struct, omit_defaults=True):
    """What one device of this node drew in one day, and which part of that nobody used."""

    day: int
    device: str
    drawn_j: float = 0.0
    idle_j: float = 0.0
    provenance: Provenance = "measured"


class _Kept(msgspec.Struct):
    work: list[WorkSum]
    devices: list[DeviceSum]


class Sums:
    """Adds up, within bounds.

    Args:
        kept: What was persisted under ``energy/``.

    Raises:
        StorageCorrupt: It does not decode.
    """

    def __init__(self, kept: Mapping[str, bytes]) -> None:
        book = _read(kept.get(NAME))
        self._work = {(each.day, each.kernel, each.place): each for each in book.work}
        self._devices = {(each.day, each.device, ""): each for each in book.devices}
        self._due_s: Seconds | None = None
        """When what changed must be on disk."""

    def work(self, since_s: Seconds) -> Iterator[WorkSum]:
        """Yield the sums of every day that ended after a moment (wall time)."""
        return (each for each in self._work.values() if (each.day + 1) * DAY_S > since_s)

    def devices(self, since_s: Seconds) -> Iterator[DeviceSum]:
        """Yield what devices drew on every day that ended after a moment (wall time)."""
        return (each for each in self._devices.values() if (each.day + 1) * DAY_S > since_s)

    def add_work(
        self, kernel: str, place: str, joules: Joules, ops: float, busy_s: Seconds, now: Instant
    ) -> None:
        """Add what a job used."""
        key = (_day(now), kernel, place)
        known = self._work.get(key)
        if known is None:
            known = self._work[key] = WorkSum(*key)
            _trim(self._work)
        known.joules = known.joules.plus(joules)
        known.busy_s += busy_s
        if joules.provenance == "unknown":
            known.unknown_s += busy_s
        else:
            known.ops += ops
        self._remind(now.mono_s + _SOON_S)

    def add_device(
        self, device: str, drawn_j: float, idle_j: float, provenance: Provenance, now: Instant
    ) -> None:
        """Add what a device drew."""
        key = (_day(now), device, "")
        known = self._devices.get(key)
        if known is None:
            known = self._devices[key] = DeviceSum(_day(now), device)
            _trim(self._devices)
        known.drawn_j += drawn_j
        known.idle_j += idle_j
        if provenance != "measured":
            known.provenance = provenance
        self._remind(now.mono_s + _LATER_S)

    def save(self, now: Seconds | None = None) -> list[Effect]:
        """Return the effect that keeps the sums once that is due, or at once without a time."""
        if self._due_s is None or (now is not None and now < self._due_s):
            return []
        self._due_s = None
        book = _Kept(list(self._work.values()), list(self._devices.values()))
        return [Persist(NAME, msgspec.msgpack.encode(book))]

    def _remind(self, due_s: Seconds) -> None:
        self._due_s = due_s if self._due_s is None else min(self._due_s, due_s)


def _day(now: Instant) -> int:
    return int(now.wall_s // DAY_S)


def _trim(table: dict[tuple[int, str, str], Sum]) -> None:
    """Drop the days that are too old, and the oldest sums beyond the bound."""
    horizon = max(table)[0] - _MOST_DAYS
    surplus = len(table) - _MOST_SUMS
    if surplus <= 0 and min(table)[0] > horizon:
        return
    for place, key in enumerate(sorted(table)):
        if key[0] <= horizon or place < surplus:
            del table[key]


def _read(data: bytes | None) -> _Kept:
    if data is None:
        return _Kept([], [])
    try:
        return msgspec.msgpack.decode(data, type=_Kept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StorageCorrupt(
            f"{NAME} does not decode: {error}",
            hint="move the file away; only the sums of energy are lost",
        ) from error
