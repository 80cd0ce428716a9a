"""Gathering: what this node knows of itself, as evidence that anyone can judge again."""

from collections.abc import Callable
from dataclasses import dataclass

from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.evidence import Evidence, Item, from_reading, millionths
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import DeviceAdvert, MemberState
from qallow_agent.node.rooms import Rooms, Self

Extra = Callable[[DeviceAdvert, Instant], tuple[Item, ...]]
"""Adds evidence about a device that other parts of the node hold: audits, for one."""
Common = Callable[[Instant], tuple[Item, ...]]
"""Adds evidence that is the same for every device of the node: policies, the ledger."""

_SLOWED = ("slowdown", "heat", "heat-hardware", "power-brake")
"""Reasons for which hardware slows down that mean heat or a brake; a power cap alone is none."""
_SURROUNDINGS = {
    "pressure_cpu": "c1.cpu",
    "pressure_io": "c1.io",
    "pressure_memory": "c1.memory",
    "foreign_cpu": "c3",
    "lateness": "c5",
}
_MOST_STEP_S: Seconds = 10.0
"""Two readings of a counter further apart say nothing of the power now."""
_OURS_HOLD = "the board itself holds its limit while our own work is on it"


@dataclass(slots=True)
class _Counter:
    at_s: Seconds
    joules: float
    watts: float | None = None


class Gathering:
    """Puts evidence together from sensors, clocks and peers.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        self._counters: dict[str, _Counter] = {}
        self._shared: tuple[Item, ...] | None = None
        self.extras: list[Extra] = []
        self.commons: list[Common] = [self._peers]

    def begin(self) -> None:
        """Work out anew what holds for every device; within one moment much may change."""
        self._shared = None

    def of(
        self, device: DeviceAdvert, sensed: Sensed, now: Instant, *, busy: bool, job: str = ""
    ) -> Evidence:
        """Return everything known about a device now; call it once a sample.

        Args:
            device: As its sensors saw it.
            sensed: What all sensors said.
            now: When.
            busy: Our own leases are on it.
            job: For which job; empty for none in particular.
        """
        read_s = sensed.read_s.get(device.name, now.mono_s)
        items = [
            *self._power(device, _ms(now, read_s), read_s, busy=busy),
            *_heat(device, _ms(now, read_s)),
            *_battery(sensed, _ms(now, now.mono_s)),
            *_people(device, sensed, now),
            *_tenants(device, _ms(now, read_s)),
            *self._common(now),
        ]
        for extra in self.extras:
            items += extra(device, now)
        wall_ms = now.wall_ns // 1_000_000
        return Evidence(self._me.node, device.name, job, wall_ms, tuple(items))

    def _power(
        self, device: DeviceAdvert, time_ms: int, read_s: Seconds, *, busy: bool
    ) -> list[Item]:
        power = device.readings.get("power") or self._drawn(device, read_s)
        if power is None or power.value is None:
            return []
        items = [from_reading("s.power", power, time_ms)]
        limit, cap = device.readings.get("power_limit"), device.readings.get("power_cap")
        caps = [each for each in (cap, None if busy else limit) if each and each.value]
        if limit is not None and limit.value is not None:
            items.append(from_reading("s.limit", limit, time_ms))
        if caps:
            least = min(caps, key=lambda each: each.value or 0.0)
            share = ((least.value or 0.0) - power.value) / (least.value or 1.0)
            room = Reading(share, "ratio", f"{power.source}, {least.source}", power.provenance)
            items.append(from_reading("s1", room, time_ms))
        elif limit is not None and limit.value:
            items.append(Item("s1", None, "ratio", time_ms, limit.source, "unknown", _OURS_HOLD))
        return items

    def _drawn(self, device: DeviceAdvert, read_s: Seconds) -> Reading | None:
        """Return the watts between the last two readings of a device's joule counter."""
        energy = device.readings.get("energy")
        if energy is None or energy.value is None or energy.provenance != "measured":
            return None
        last = self._counters.get(device.name)
        if last is None or not 0 <= read_s - last.at_s <= _MOST_STEP_S:
            self._counters[device.name] = _Counter(read_s, energy.value)
            return None
        if read_s > last.at_s:
            watts = max(0.0, energy.value - last.joules) / (read_s - last.at_s)
            last.at_s, last.joules, last.watts = read_s, energy.value, watts
        if last.watts is None:
            return None
        return Reading(last.watts, "watts", energy.source)

    def _common(self, now: Instant) -> tuple[Item, ...]:
        """Return what holds for every device; worked out once a round."""
        if self._shared is None:
            self._shared = tuple(item for each in self.commons for item in each(now))
        return self._shared

    def _peers(self, now: Instant) -> tuple[Item, ...]:
        """Return what agreement with peers can be told from: clocks, live sets, their words."""
        me, rooms = self._me.node, self._rooms
        wall_ms = now.wall_ns // 1_000_000
        others = [each for each in rooms.membership.members() if each.node != me]
        known = sum(each.state is not MemberState.LEFT for each in others)
        alive = sum(node != me for node in rooms.membership.alive())
        items = [
            Item("h.known", millionths(known), "count", wall_ms, "membership"),
            Item("h.fresh", millionths(alive), "count", wall_ms, "membership"),
        ]
        together = rooms.sync.mesh_offset(now) if alive else None
        if together is not None:
            hull = together.hull
            off_s = abs(hull.middle_s) + hull.half_s + together.spread_s
            items.append(Item("h1", millionths(off_s), "seconds", wall_ms, "sync pulses"))
        likeness = rooms.views.likeness(now.mono_s) if alive else None
        if likeness is not None:
            alike, at_s = likeness
            items.append(Item("h4", alike, "ratio", _ms(now, at_s), "live sets of peers"))
        return tuple(items)


def _ms(now: Instant, at_s: Seconds) -> int:
    """Return a monotonic second as milliseconds of Unix time."""
    return now.wall_ns // 1_000_000 - round((now.mono_s - at_s) * 1000)


def _heat(device: DeviceAdvert, time_ms: int) -> list[Item]:
    heat, limit = device.readings.get("temperature"), device.readings.get("temperature_limit")
    items: list[Item] = []
    if heat is not None and heat.value is not None:
        items.append(from_reading("s.temperature", heat, time_ms))
        if limit is not None and limit.value is not None:
            sure = limit.provenance == heat.provenance == "measured"
            margin = Reading(
                limit.value - heat.value,
                "celsius",
                f"{heat.source}, {limit.source}",
                "measured" if sure else "estimated",
                limit.why,
            )
            items.append(from_reading("s2", margin, time_ms))
        end = device.readings.get("temperature_shutdown")
        if end is not None and end.value is not None:
            over = heat.value >= end.value
            items.append(_flag("s2.shutdown", time_ms, heat.source, on=over))
    if any(reason in _SLOWED for reason in device.throttle):
        items.append(_flag("s2.slowdown", time_ms, ", ".join(device.throttle), on=True))
    return items


def _battery(sensed: Sensed, time_ms: int) -> list[Item]:
    charge = sensed.readings.get("battery")
    if charge is None or charge.value is None or "discharging" not in charge.source:
        return []
    return [from_reading("s4.charge", charge, time_ms)]


def _people(device: DeviceAdvert, sensed: Sensed, now: Instant) -> list[Item]:
    items = [
        from_reading(signal, noted.reading, _ms(now, noted.at_s))
        for name, signal in _SURROUNDINGS.items()
        if (noted := sensed.surroundings.get(name)) is not None
    ]
    touched = sensed.surroundings.get("input_age")
    # A CPU's work steps back for people by its niceness; a GPU's makes their screen stutter.
    if touched is not None and device.kind != "cpu":
        items.append(from_reading("c2", touched.reading, _ms(now, touched.at_s)))
    return items


def _tenants(device: DeviceAdvert, time_ms: int) -> list[Item]:
    if device.kind == "cpu":
        return []
    items: list[Item] = []
    used = device.readings.get("foreign_utilization")
    if used is not None:
        items.append(from_reading("c4.use", used, time_ms))
    free = device.readings.get("memory_available")
    theirs = device.readings.get("foreign_memory")
    if free is not None and free.value is not None and device.memory_bytes:
        # What our own runners hold is no stranger's loss; only where others hold memory too.
        nobody = theirs is not None and theirs.value == 0
        left = 1.0 if nobody else free.value / device.memory_bytes
        why = "no other program holds any" if nobody else ""
        items.append(
            from_reading("c4.memory", Reading(left, "ratio", free.source, why=why), time_ms)
        )
    return items


def _flag(signal: str, time_ms: int, source: str, *, on: bool) -> Item:
    return Item(signal, 1_000_000 if on else 0, "flag", time_ms, source)
