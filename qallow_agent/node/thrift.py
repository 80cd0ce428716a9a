"""Thrift: what a job would draw here, held against other places, power caps and energy budgets.

All of it is evidence about one placement: a device that is open may still be the wrong one for a
job that takes a tenth of the joules next door, or more than is left of the day's budget.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec

from qallow_agent.base.machine import Instant
from qallow_agent.base.reading import Provenance
from qallow_agent.base.units import Seconds, show_joules
from qallow_agent.ethics.evidence import MILLION, Evidence, Item, millionths
from qallow_agent.jobs.messages import LeaseRequest
from qallow_agent.mesh.wire.gate import GateState
from qallow_agent.mesh.wire.kinds import Advert, DeviceAdvert, DeviceState, Role
from qallow_agent.node.grants import zone_of
from qallow_agent.node.metering import energy_of
from qallow_agent.node.rooms import Rooms, Self

MINUTE_S: Seconds = 60.0
"""What a job that does not tell its length is taken to last, at a time."""
MOST_RISE_C = 10.0
"""No job is expected to heat a device by more than this before it is judged again."""
_RISE_MS = 10_000
_WORKING = (DeviceState.OK, DeviceState.HOT, DeviceState.WARMING)
_MOST_TIMES = 1_000.0


class Thrift:
    """Predicts what placements draw.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms

    def of(
        self, wish: LeaseRequest, device: DeviceAdvert, known: Evidence, now: Instant
    ) -> tuple[Item, ...]:
        """Return the evidence that only this job's placement has: s1, s3, s4, c4 with it on.

        Args:
            wish: What is asked for.
            device: Of which device.
            known: What is known of the device without the job.
            now: When.
        """
        found = (
            self._room(wish, device, known),
            self._frugality(wish, device, now),
            self._budget(wish, device, now),
            _memory(wish, device, known),
        )
        return tuple(each for each in found if each is not None)

    def standing(self, device: DeviceAdvert, now: Instant) -> tuple[Item, ...]:
        """Return what is left of the budget when nobody asks: how long it lasts as things are."""
        left_j = self._rooms.meters.budget.left_j(now)
        if left_j is None:
            return ()
        idle_w = self._rooms.meters.idle_w(device.name) or 0.0
        power = device.readings.get("power")
        watts = idle_w if power is None or power.value is None else power.value
        why = f"{show_joules(left_j)} left: held against a minute of {watts:.0f} W"
        return (self._left(left_j, watts * MINUTE_S, why, now),)

    # --- power ------------------------------------------------------------------------------------

    def _room(self, wish: LeaseRequest, device: DeviceAdvert, known: Evidence) -> Item | None:
        room, watts, cap_w = known.find("s1"), self._watts(wish), _cap_w(device)
        if room is None or room.value is None or not watts or not cap_w:
            return None
        left = room.value - millionths(watts * wish.slots / cap_w)
        why = f"with {watts:.0f} W a slot that {wish.kernel} takes here"
        return msgspec.structs.replace(room, value=left, provenance="estimated", why=why)

    def _watts(self, wish: LeaseRequest) -> float:
        """Return what one slot at a kernel draws here, as metered before; 0 when unknown."""
        return self._joules(wish) * self._rate(wish)

    def _joules(self, wish: LeaseRequest) -> float:
        return self._rooms.meters.rates(wish.device).get(wish.kernel, 0.0)

    def _rate(self, wish: LeaseRequest) -> float:
        states = {each.name: each for each in self._rooms.bench.device_states()}
        return states[wish.device].rates.get(wish.kernel, 0.0) if wish.device in states else 0.0

    # --- frugality --------------------------------------------------------------------------------

    def _frugality(self, wish: LeaseRequest, device: DeviceAdvert, now: Instant) -> Item | None:
        """Return the best place's joules as a share of this one's; None for mere copies."""
        if wish.shadow:
            return None
        time_ms = now.wall_ns // 1_000_000
        own = self._joules(wish)
        if own <= 0:
            why = f"nothing has counted the joules of {wish.kernel} on {device.name} yet"
            return Item("s3", None, "ratio", time_ms, "adverts", "unknown", why)
        enough = max(1, wish.lacked) * self._rate(wish)
        # Each task of an audited job needs so many places: the next best ones are feasible too.
        others = sorted(self._cheaper(wish, own, enough, now), key=lambda each: each[:2])
        rank = max(1, wish.places) - 1
        provenance: Provenance = energy_of(device).provenance
        if rank >= len(others):
            why = "no place that could do it as soon is known to take less"
            return Item("s3", MILLION, "ratio", time_ms, "adverts", provenance, why)
        best, label, theirs = others[rank]
        sure = provenance == theirs == "measured"
        why = f"an operation takes {best:.3g} J on {label}, {own:.3g} J here"
        share = millionths(best / own)
        return Item("s3", share, "ratio", time_ms, "adverts", "measured" if sure else "estimated",
                    why)  # fmt: skip

    def _cheaper(
        self, wish: LeaseRequest, own: float, enough: float, now: Instant
    ) -> Iterator[tuple[float, str, Provenance]]:
        """Yield joules per op, label and provenance of what takes less and could do it all as soon.

        Whatever deadline is met here is met there, then.
        """
        rooms, policy = self._rooms, self._rooms.charter.effective(now)
        adverts = rooms.adverts.snapshot()
        alive = {*rooms.membership.alive(), self._me.node}
        for record in rooms.membership.members():
            advert = adverts.get(record.node)
            if advert is None or record.node not in alive or not _offers(advert, wish):
                continue
            cheaper = [
                device
                for device in advert.devices
                if 0 < device.joules.get(wish.kernel, 0.0) < own
                and (record.node, device.name) != (self._me.node, wish.device)
                and _free(advert, device, wish, enough)
            ]
            barred = cheaper and (
                not policy.takes(zone_of(rooms, record.node), wish.data_class)
                or Role.WORKER not in rooms.doorkeeper.roles_of(record.node)
                or rooms.council.forks.forked(record.node)
            )
            for device in () if barred else cheaper:
                label = f"{record.name}/{device.name}"
                yield device.joules[wish.kernel], label, energy_of(device).provenance

    # --- budget -----------------------------------------------------------------------------------

    def _budget(self, wish: LeaseRequest, device: DeviceAdvert, now: Instant) -> Item | None:
        left_j = self._rooms.meters.budget.left_j(now)
        if left_j is None:
            return None
        share = max(0.0, wish.slots / max(1, wish.slots, wish.lacked))
        told = 0 < wish.ops < math.inf
        needed_j = self._joules(wish) * wish.ops * share if told else 0.0
        how = f"{show_joules(needed_j)} for what is asked here"
        if not told:
            needed_j = self._watts(wish) * wish.slots * MINUTE_S
            how = f"{show_joules(needed_j)} for a minute of a job that tells no length"
        if needed_j <= 0 and left_j > 0:
            why = f"nothing has counted the joules of {wish.kernel} on {device.name} yet"
            return Item("s4", None, "ratio", now.wall_ns // 1_000_000, "budget", "unknown", why)
        return self._left(left_j, needed_j, f"{show_joules(left_j)} left, {how}", now)

    def _left(self, left_j: float, needed_j: float, why: str, now: Instant) -> Item:
        times = min(_MOST_TIMES, left_j / needed_j) if needed_j > 0 else _MOST_TIMES
        value = millionths(times if left_j > 0 else 0.0)
        return Item("s4", value, "ratio", now.wall_ns // 1_000_000, "budget", "estimated", why)


def warmer(trail: Sequence[Evidence]) -> tuple[Item, ...]:
    """Return the thermal margin with the job on: it goes on rising as in the last 10 s.

    By no more than 10 degrees, and never below where it is: what cools is judged as it is.
    """
    newest = trail[-1].find("s2")
    if newest is None or newest.value is None:
        return ()
    margins = [
        item.value
        for each in trail
        if newest.time_ms - each.at_ms <= _RISE_MS
        and (item := each.find("s2")) is not None
        and item.value is not None
    ]
    rise = min(margins[0] - newest.value, millionths(MOST_RISE_C)) if margins else 0
    if rise <= 0:
        return ()
    why = f"it rose by {rise / MILLION:.1f} C in the last seconds and is taken to go on so"
    return (
        msgspec.structs.replace(newest, value=newest.value - rise, provenance="estimated", why=why),
    )


def _memory(wish: LeaseRequest, device: DeviceAdvert, known: Evidence) -> Item | None:
    """Return the memory that is left to others with the job on; None where nobody else has any."""
    left = known.find("c4.memory")
    if left is None or left.value is None or left.value >= MILLION:
        return None
    takes = wish.memory_bytes * wish.slots / max(1, device.memory_bytes)
    if takes <= 0:
        return None
    why = f"with {takes * 100:.1f} % that the job needs"
    value = max(0, left.value - millionths(takes))
    return msgspec.structs.replace(left, value=value, provenance="estimated", why=why)


def _offers(advert: Advert, wish: LeaseRequest) -> bool:
    return any((each.name, each.hash) == (wish.kernel, wish.kernel_hash) for each in advert.kernels)


def _free(advert: Advert, device: DeviceAdvert, wish: LeaseRequest, enough: float) -> bool:
    """Return whether a device is open, and free and fast enough to do all of it as soon."""
    backends = (each.backends for each in advert.kernels if each.name == wish.kernel)
    if device.gate is None or device.gate.state is not GateState.OPEN or device.simulated:
        return False
    if device.state not in _WORKING or device.trial or not any(device.kind in each
                                                               for each in backends):  # fmt: skip
        return False
    left_bytes = device.memory_bytes - device.reserved_bytes
    if device.memory_bytes and wish.memory_bytes > left_bytes:
        return False
    free = device.slots - device.busy - device.waiting
    return free > 0 and free * device.rates.get(wish.kernel, 0.0) >= enough


def _cap_w(device: DeviceAdvert) -> float:
    readings = device.readings
    caps = [readings[each].value for each in ("power_cap", "power_limit") if each in readings]
    return min((cap for cap in caps if cap), default=0.0)
