"""What must always be true of a mesh, whatever happens to it; the simulation looks after each step.

The checks of single nodes (``Node.check``) run in the shell. Here stand those that need to see
more than one node, or the truth: real clocks, real deaths, real runners.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId, Sender
from qallow_agent.base.units import Seconds
from qallow_agent.ledger.checkpoint import parse_checkpoint
from qallow_agent.ledger.merkle import Edge, leaf_hash
from qallow_agent.mesh.wire.kinds import Incarnation, MemberState
from qallow_agent.testing.box import Box
from qallow_agent.testing.gatelaws import GateLaws
from qallow_agent.testing.network import Network
from qallow_agent.testing.premises import MEMORY_BYTES

CALM_S: Seconds = 20.0
"""So long after the last fault nobody who lives may be declared dead: the longest suspicion is
10 s, and one was perhaps just beginning."""
CONVERGED_S: Seconds = 60.0
"""So long after the last fault all books agree: the dead are tried again within 30 s, a link is
dialled again within 30 s."""
CLOCK_REST_S: Seconds = 1.0
"""A step of a clock is noticed with the next echo."""


@dataclass(slots=True)
class Laws:
    """Watches the boxes of one simulation.

    Args:
        boxes: By name.
        network: Between them.
    """

    boxes: Mapping[str, Box]
    network: Network
    fault_s: Seconds = 0.0
    """When something last went wrong or was put right."""
    _certified: dict[tuple[str, int], int] = field(default_factory=dict)
    gates: GateLaws = field(default_factory=GateLaws)
    _highest: dict[tuple[str, int, NodeId], Incarnation] = field(default_factory=dict)

    def disturb(self) -> None:
        """Note that a fault begins or ends now."""
        self.fault_s = self.network.timeline.now

    @property
    def calm_s(self) -> Seconds:
        """Seconds since the last fault, as long as everything is whole; else 0."""
        weather = self.network.weather
        troubled = not self.network.whole or weather.loss > 0 or weather.reorder > 0
        frozen = any(box.up and box.running().process.frozen for box in self.boxes.values())
        ill = any(box.disk.full or box.disk.slow_s for box in self.boxes.values())
        if troubled or frozen or ill:
            self.disturb()
        return self.network.timeline.now - self.fault_s

    # --- after a step -----------------------------------------------------------------------------

    def after_step(self, name: str, cause: str, sender: Sender, *, thorough: bool) -> None:
        """Check what one step of one node may have broken; ``thorough`` asks the node as well."""
        box = self.boxes[name]
        if not box.up:
            return
        if thorough:
            box.node.check()
        if cause == "sync.echo":
            self._clock(box, NodeId(sender))
        elif cause in {
            "tick",
            "lease.request",
            "sensed",
            "fact.sensed",
            "runner.exited",
            "runner.busy",
            "lease.renew",
            "do.pause",
        }:
            self._slots(box)
            self.gates.check(box)

    def declared_dead(self, name: str, node: str) -> None:
        """Check that a death is one.

        Raises:
            InvariantBroken: The dead one lives and the mesh has been whole for long enough.
        """
        victim = next((box for box in self.boxes.values() if box.id == node), None)
        if victim is None or not victim.up or self.calm_s < CALM_S:
            return
        raise InvariantBroken(
            f"{name} declares {victim.name} dead, which lives, {self.calm_s:.1f} s after the last "
            "fault"
        )

    def _clock(self, box: Box, node: NodeId) -> None:
        """Check that the bound of a peer's clock contains the truth."""
        peer = next((each for each in self.boxes.values() if each.id == node), None)
        known = box.node.rooms.sync.peer_offset(node)
        if peer is None or known is None:
            return
        now_s = self.network.timeline.now
        if now_s - max(box.clocks.stepped_s, peer.clocks.stepped_s) < CLOCK_REST_S:
            return
        truth_s = (peer.clocks.read().wall_ns - box.clocks.read().wall_ns) / 1e9
        if abs(known.offset_s - truth_s) > known.bound_s + 1e-6:
            raise InvariantBroken(
                f"{box.name} has {peer.name}'s clock at {known.offset_s:.6f} +- "
                f"{known.bound_s:.6f} s; it is at {truth_s:.6f} s"
            )

    def _slots(self, box: Box) -> None:
        """Check that a machine never promises or runs more than it has."""
        for device in box.node.rooms.bench.device_states():
            if device.busy > device.slots:
                raise InvariantBroken(f"{box.name} leases {device.busy} of {device.slots} slots")
            if device.reserved_bytes > MEMORY_BYTES:
                raise InvariantBroken(f"{box.name} promises {device.reserved_bytes} bytes")
        for runner in box.running().yard.runners.values():
            if runner.served() > 1:
                raise InvariantBroken(f"{runner.id} on {box.name} serves {runner.served()} leases")

    # --- now and then -----------------------------------------------------------------------------

    def look_round(self) -> None:
        """Check that no belief goes back to an older incarnation, and that certificates hold."""
        for box in self.boxes.values():
            if box.up:
                self._certificate(box)
        for box in self.boxes.values():
            if not box.up:
                continue
            for record in box.node.rooms.membership.members():
                key = (box.name, box.boots, record.node)
                before = self._highest.get(key, record.incarnation)
                if record.incarnation < before:
                    raise InvariantBroken(f"{box.name} takes {record.name} back in time")
                self._highest[key] = record.incarnation

    def _certificate(self, box: Box) -> None:
        """Check that the newest certificate of a box covers what its disk holds, and only grows."""
        certifier = box.node.rooms.council.certifier
        size, note = certifier.certified_size, certifier.certified
        before = self._certified.get((box.name, box.boots), 0)
        if note is None or size == before:
            return
        if size < before:
            raise InvariantBroken(f"{box.name} was certified up to {before}, now up to {size}")
        edge = Edge()
        for entry in box.disk.logbook(box.node.me.mesh).entries[:size]:
            edge.append(leaf_hash(entry))
        if parse_checkpoint(note.text).root != edge.root():
            raise InvariantBroken(f"{box.name} has a certificate of what its disk does not hold")
        self._certified[box.name, box.boots] = size

    # --- at the end -------------------------------------------------------------------------------

    def converged(self) -> str:
        """Return what keeps the books from agreeing; nothing when they do."""
        living = [box for box in self.boxes.values() if box.up]
        everybody = tuple(sorted(box.id for box in living))
        for box in living:
            rooms = box.node.rooms
            alive = rooms.membership.alive()
            if alive != everybody:
                missing = self.names(node for node in everybody if node not in alive)
                extra = self.names(node for node in alive if node not in everybody)
                return f"{box.name} misses {missing or 'nobody'}, has {extra or 'nobody'} too many"
            adverts = rooms.adverts.snapshot()
            for other in living:
                own = other.node.rooms.adverts.snapshot().get(other.id)
                held = adverts.get(other.id)
                if own is not None and (held is None or held.epoch != own.epoch):
                    return f"{box.name} has no advert of {other.name}'s present life"
        return ""

    def names(self, nodes: Iterable[NodeId]) -> str:
        """Return the box names of some node ids, joined."""
        by_id = {box.id: box.name for box in self.boxes.values()}
        return " ".join(by_id.get(node, node) for node in nodes)

    def believed(self, name: str, other: str) -> MemberState | None:
        """Return what one box believes of another."""
        record = self.boxes[name].node.rooms.membership.record_of(self.boxes[other].id)
        return None if record is None else record.state
