"""Surroundings: what this machine's people and other programs feel of us, once a second."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.mesh.wire.facts import Noted
from qallow_agent.runtime.cgroup import own_group
from qallow_agent.runtime.sensing.files import ROOT
from qallow_agent.runtime.sensing.lateness import Lateness
from qallow_agent.runtime.sensing.people import People
from qallow_agent.runtime.sensing.pressure import read_others
from qallow_agent.runtime.sensing.strangers import Strangers

LOOK_S: Seconds = 2.0
"""How often pressure and people are looked at: both move slowly, both count for 3 s."""
FEEL_S: Seconds = 60.0
"""How often we ask whether the machine is a desktop: people rarely move in."""


class Surroundings:
    """Reads what the gate wants to know of co-tenants, besides the sensors.

    Args:
        lateness: Fed by the loop.
        friends: Processes of clients.
        root: Where proc/, run/, sys/ and dev/ lie.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        lateness: Lateness,
        friends: Callable[[], Iterable[int]] = tuple,
        root: Path = ROOT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.lateness = lateness
        self._people = People(wall, root)
        self._strangers = Strangers(friends, root)
        self._root = root
        self._look_s: Seconds | None = None
        self._feel_s: Seconds | None = None
        self._group: Path | None = None
        self._seen: dict[str, Noted] = {}
        self.desktop = False
        """Whether a person's session is on a seat of this machine."""

    def read(self, now_s: Seconds) -> dict[str, Noted]:
        """Return every reading with the monotonic second at which it was taken."""
        if self._feel_s is None or now_s >= self._feel_s:
            self._feel_s = now_s + FEEL_S
            self._group = own_group(self._root / "sys/fs/cgroup", self._root / "proc/self/cgroup")
            self.desktop = self._people.seated()
        if self._look_s is None or now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            seen: dict[str, Reading] = read_others(self._root, self._group)
            seen["input_age"] = self._people.read()
            self._seen = {name: Noted(reading, now_s) for name, reading in seen.items()}
        foreign, at_s = self._strangers.read(now_s)
        return {
            **self._seen,
            "lateness": Noted(self.lateness.read(now_s), now_s),
            "foreign_cpu": Noted(foreign, at_s),
        }
