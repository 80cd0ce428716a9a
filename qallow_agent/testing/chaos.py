"""Seeded misfortune: a schedule of faults and repairs, drawn from a seed, done to a simulation."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from qallow_agent.base.units import Seconds
from qallow_agent.testing.network import Weather
from qallow_agent.testing.simulation import Simulation
from qallow_agent.testing.timeline import Action

Picked = TypeVar("Picked")

FAULTS = (
    "kill", "cut", "one-way", "loud-cut", "unplug", "freeze", "storm", "full-disk", "slow-disk",
    "clock", "runner",
)  # fmt: skip
"""Everything that may happen."""

LEAST_STEP_S: Seconds = 12.0
"""Clocks are stepped by more than any freeze lasts: a smaller step hides in a longer round trip."""
MOST_STEP_S: Seconds = 25.0
"""Two clocks never get further apart than what hybrid stamps allow (60 s)."""


@dataclass(slots=True)
class Chaos:
    """Draws faults, one at a time, each with its repair.

    Args:
        simulation: What is tormented.
        rng: Draws everything.
        spare: Boxes that are neither killed nor unplugged, e.g. because a client depends on them.
        faults: Which faults may happen.
    """

    simulation: Simulation
    rng: Random
    spare: tuple[str, ...] = ()
    faults: tuple[str, ...] = FAULTS

    def torment(self, seconds: Seconds) -> list[str]:
        """Let faults happen for so long, then repair everything; return what happened."""
        simulation = self.simulation
        end_s = simulation.now + seconds
        done: list[str] = []
        while simulation.now < end_s:
            simulation.run(min(end_s - simulation.now, 4.0 * self.rng.random()))
            done.append(self._strike(end_s - simulation.now))
        self.repair()
        return done

    def repair(self) -> None:
        """End every fault: all boxes run, the network is whole, disks and weather are good."""
        simulation = self.simulation
        simulation.faults.heal()
        _set(simulation.network.weather, simulation.plan.weather)
        for name, box in simulation.boxes.items():
            simulation.faults.plug(name)
            simulation.faults.set_disk(name)
            if not box.up and box.boots:
                simulation.faults.restart(name)
            simulation.faults.thaw(name)

    def _strike(self, left_s: Seconds) -> str:
        fault = self._pick(self.faults)
        names = [name for name, box in self.simulation.boxes.items() if box.up]
        victims = [name for name in names if name not in self.spare]
        lasting_s = min(left_s, 0.5 + 10 * self.rng.random() ** 2)
        if fault in {"full-disk", "clock"}:
            victims = names
        if fault in {"kill", "unplug", "freeze", "runner", "slow-disk", "full-disk", "clock"}:
            if not victims:
                return f"no {fault}"
            victim = self._pick(victims)
            self._hit(fault, victim, lasting_s)
            return f"{fault} {victim} {lasting_s:.1f}"
        if fault == "storm":
            weather = self.simulation.network.weather
            weather.loss = 0.3 * self.rng.random()
            weather.duplicate = 0.1 * self.rng.random()
            weather.reorder = 0.2 * self.rng.random()
            weather.jitter_s = 0.05 * self.rng.random()
            self._later(lasting_s, lambda: _set(weather, self.simulation.plan.weather))
            return f"storm {lasting_s:.1f}"
        return self._cut(fault, lasting_s)

    def _cut(self, fault: str, lasting_s: Seconds) -> str:
        simulation = self.simulation
        names = list(simulation.boxes)
        if fault == "one-way":
            one = self._pick(names)
            other = self._pick([name for name in names if name != one])
            simulation.faults.cut(one, other)
            what = f"cut {one} -> {other}"
        else:
            side = [name for name in names if self.rng.random() < 1 / 2] or names[:1]
            rest = [name for name in names if name not in side]
            simulation.faults.partition(side, rest, loud=fault == "loud-cut")
            what = f"{fault} {' '.join(side)} | {' '.join(rest)}"
        self._later(lasting_s, simulation.faults.heal)
        return f"{what} {lasting_s:.1f}"

    def _hit(self, fault: str, victim: str, lasting_s: Seconds) -> None:
        simulation, box = self.simulation, self.simulation.boxes[victim]
        match fault:
            case "kill":
                simulation.faults.kill(victim)
                self._later(lasting_s, lambda: self._revive(victim))
            case "unplug":
                simulation.faults.unplug(victim)
                self._later(lasting_s, lambda: simulation.faults.plug(victim))
            case "freeze":
                simulation.faults.freeze(victim)
                self._later(lasting_s, lambda: simulation.faults.thaw(victim))
            case "runner":
                runners = list(box.running().yard.runners)
                if runners:
                    box.running().yard.crash(self._pick(runners))
            case "slow-disk":
                simulation.faults.set_disk(victim, slow_s=0.3 * self.rng.random())
                self._later(lasting_s, lambda: simulation.faults.set_disk(victim))
            case "full-disk":
                simulation.faults.set_disk(victim, full=True)
                self._later(lasting_s, lambda: simulation.faults.set_disk(victim))
            case _:
                size_s = LEAST_STEP_S + (MOST_STEP_S - LEAST_STEP_S) * self.rng.random()
                simulation.faults.step_clock(victim, -size_s if box.clocks.error_s > 0 else size_s)

    def _revive(self, name: str) -> None:
        """Start an agent again; one whose disk is full cannot start, so that is tried again."""
        box = self.simulation.boxes[name]
        if box.disk.full:
            self._later(1.0, lambda: self._revive(name))
        elif not box.up:
            self.simulation.faults.restart(name)

    def _later(self, delay_s: Seconds, action: Action) -> None:
        self.simulation.timeline.after(delay_s, action)

    def _pick(self, items: Sequence[Picked]) -> Picked:
        return items[self.rng.randrange(len(items))]


def _set(weather: Weather, like: Weather) -> None:
    weather.latency_s, weather.jitter_s = like.latency_s, like.jitter_s
    weather.loss, weather.duplicate, weather.reorder = like.loss, like.duplicate, like.reorder
