"""Bylaws: the evidence that policies, owners and peers' words about policies add."""

from collections import Counter

from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.clauses import HOURS_A_DAY
from qallow_agent.ethics.evidence import MILLION, Item
from qallow_agent.node.grants import zone_of
from qallow_agent.node.rooms import Rooms, Self

BEHIND_S: Seconds = 600.0
"""How long a node may hold another policy than the mesh's majority: it is on its way."""
_BEHIND = 970_000
_SOURCE = "policies in force"


class Bylaws:
    """Says what the policies in force mean for this node right now.

    Args:
        me: Who this node is.
        rooms: Its rooms.
    """

    def __init__(self, me: Self, rooms: Rooms) -> None:
        self._me = me
        self._rooms = rooms
        self._apart_s: Seconds | None = None

    def items(self, now: Instant) -> tuple[Item, ...]:
        """Return the owner's pause and consent, the price of this hour, and the mesh's accord."""
        found = [self._pause(now), self._consent(now), self._accord(now)]
        prices = self._rooms.charter.effective(now).prices
        if prices:
            hour = int(now.wall_s // 3_600) % HOURS_A_DAY
            found.append(Item("s5", prices[hour], "ratio", _ms(now), "schedule of the policy"))
        return tuple(found)

    def zone(self, data_class: str, now: Instant) -> tuple[Item, ...]:
        """Return whether data of a class may be worked on here; nothing where nobody asked."""
        policy = self._rooms.charter.effective(now)
        if not policy.zones and not policy.own_classes:
            return ()
        zone = zone_of(self._rooms, self._me.node)
        takes = policy.takes(zone, data_class)
        why = "" if takes else f"{data_class} data in zone {zone or '(none)'}"
        return (_flag("c7", now, why, on=takes),)

    def _pause(self, now: Instant) -> Item:
        pause = self._rooms.charter.pause
        held = pause is not None and pause.holds(_ms(now))
        return _flag("c8", now, pause.why if held and pause is not None else "", on=not held)

    def _consent(self, now: Instant) -> Item:
        charter = self._rooms.charter
        consents = charter.consents(now)
        quiet = charter.quiet(now) is not None
        why = "" if consents else "quiet hours" if quiet else "the owner's policy"
        return _flag("c6", now, why, on=consents)

    def _accord(self, now: Instant) -> Item:
        """Compare our policy's digest with that of the majority of those whose advert tells."""
        ours = self._rooms.charter.digest
        told = Counter([ours])
        for node, advert in self._rooms.adverts.snapshot().items():
            gates = [device.gate for device in advert.devices if device.gate is not None]
            if node != self._me.node and gates and gates[0].policy:
                told[gates[0].policy] += 1
        most, count = told.most_common(1)[0]
        if most == ours or 2 * count <= told.total():
            self._apart_s = None
            return Item("h3", MILLION, "ratio", _ms(now), "adverts")
        if self._apart_s is None:
            self._apart_s = now.mono_s
        fresh = now.mono_s - self._apart_s < BEHIND_S
        why = (
            f"{count} of {told.total()} hold policy {most.hex()[:12]}, this node {ours.hex()[:12]}"
        )
        return Item("h3", _BEHIND if fresh else 0, "ratio", _ms(now), "adverts", why=why)


def _ms(now: Instant) -> int:
    return now.wall_ns // 1_000_000


def _flag(signal: str, now: Instant, why: str, *, on: bool) -> Item:
    return Item(signal, MILLION if on else 0, "flag", _ms(now), _SOURCE, why=why)
