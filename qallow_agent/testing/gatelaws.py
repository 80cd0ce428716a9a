"""What must always be true of gates: who is closed grants nothing, who is paused runs nothing."""

from dataclasses import dataclass, field

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.gate import Admission
from qallow_agent.testing.box import Box

PAUSE_S: Seconds = 1.0
"""Within which time a pause has ended everything that ran."""


@dataclass(slots=True)
class GateLaws:
    """Watches what boxes lease, and what they run, against what their gates say."""

    _leased: dict[tuple[str, int], frozenset[LeaseId]] = field(default_factory=dict)

    def check(self, box: Box) -> None:
        """Check one box after a step of its node.

        Raises:
            InvariantBroken: A lease began behind a closed gate, or a pause did not end the work.
        """
        self._grants(box)
        self._pause(box)

    def _grants(self, box: Box) -> None:
        stations = box.node.rooms.bench.leases()
        before = self._leased.get((box.name, box.boots), frozenset())
        self._leased[box.name, box.boots] = frozenset(stations)
        for lease, device in stations.items():
            judged = box.node.governance.judged.get(device)
            shut = judged is not None and judged.verdict.admission is not Admission.ADMIT
            if shut and lease not in before:
                raise InvariantBroken(f"{box.name}/{device} is closed and granted {lease}")

    def _pause(self, box: Box) -> None:
        pause = box.node.rooms.charter.pause
        now = box.clocks.read()
        wall_ms = now.wall_ns // 1_000_000
        if pause is None or not pause.holds(wall_ms):
            return
        if wall_ms - pause.since_ms < PAUSE_S * 1000:
            return
        if len(box.node.rooms.bench.leases()):
            raise InvariantBroken(f"{box.name} is paused and has leases")
        if any(runner.busy() for runner in box.running().yard.runners.values()):
            raise InvariantBroken(f"{box.name} is paused and works")
