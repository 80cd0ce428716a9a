"""What every box of a simulation takes for granted: rules, kernels, devices, and who looks on."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from qallow_agent.base.ids import Sender
from qallow_agent.base.machine import Instant
from qallow_agent.base.notice import Notice
from qallow_agent.base.reading import Reading
from qallow_agent.base.units import Seconds
from qallow_agent.ethics.mesh_policy import MeshPolicy
from qallow_agent.ethics.policy import Policy
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.kernels.registry import Catalog, load_catalog
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.wire.facts import Noted
from qallow_agent.mesh.wire.kinds import DeviceAdvert, DeviceState
from qallow_agent.node.build import RoomSettings
from qallow_agent.node.governance import Law
from qallow_agent.placement.settings import PlacementSettings
from qallow_agent.testing.runners import Craft

KERNELS = ("elasticity", "harmonic")
MEMORY_BYTES = 8 << 30
RELEASE = "0.0.0+simulated"
LIMIT_C = 90.0
LOAD = Reading(0.1, "ratio", "simulated")


def default_rooms() -> RoomSettings:
    """Return every room's defaults."""
    return RoomSettings(
        TrustSettings(),
        DiscoverySettings(),
        MembershipSettings(),
        AdvertSettings(),
        SyncSettings(),
        JobSettings(),
        PlacementSettings(),
        # Signatures of ML-DSA-44 are random, and runs must repeat; copies are made when asked for.
        LedgerSettings(lattice_s=0.0, mirrors=0),
        EthicsSettings(),
    )


class Lenient:
    """The law of a mesh whose machines' clocks may be apart: everything else is as it was.

    Args:
        law: What holds otherwise.
        mesh: Returns the mesh's policy.
    """

    def __init__(self, law: Law, mesh: Callable[[], MeshPolicy]) -> None:
        self._law = law
        self._mesh = mesh

    @property
    def digest(self) -> bytes:
        """The digest of the mesh's policy."""
        return self._law.digest

    def mesh(self) -> MeshPolicy:
        """Return the mesh's policy, without the signal of clocks."""
        mesh = self._mesh()
        presets = {
            name: msgspec.structs.replace(each, skipped=(*each.skipped, "h1"))
            for name, each in mesh.presets.items()
        }
        return msgspec.structs.replace(mesh, presets=presets)

    def effective(self, now: Instant) -> Policy:
        """Return the policy that holds, without the signal of clocks."""
        policy = self._law.effective(now)
        return msgspec.structs.replace(policy, skipped=(*policy.skipped, "h1"))


@dataclass(frozen=True, slots=True)
class Rules:
    """What all boxes of a simulation share.

    Args:
        seed: Keys and entropy derive from it and a box's name.
        rooms: Settings of every room.
        transport: Settings of the transport.
        strict_clocks: Machines whose clocks are apart take no work, as outside of simulations.
    """

    seed: str
    rooms: RoomSettings = field(default_factory=default_rooms)
    transport: TransportSettings = field(default_factory=TransportSettings)
    strict_clocks: bool = False


class Onlooker(Protocol):
    """Hears, by box name, everything that happens."""

    def notice(self, box: str, notice: Notice) -> None:
        """Take a notice."""
        ...

    def step(self, box: str, cause: str, sender: Sender) -> None:
        """Take in that a node has made a step: what caused it, and who said that."""
        ...

    def sent(self, box: str, data: bytes) -> None:
        """Take in bytes that leave for a peer."""
        ...


def device_of(craft: Craft, up_s: Seconds, worked_s: Seconds) -> DeviceAdvert:
    """Return the one device of a virtual machine, with its meter if it has one.

    Args:
        craft: What the machine is good for.
        up_s: For how long it has drawn power.
        worked_s: For how long its runners have worked, together.
    """
    readings: dict[str, Reading] = {}
    if craft.idle_w:
        joules = craft.idle_w * up_s + craft.busy_w * worked_s
        readings["energy"] = Reading(joules, "joules", "simulated")
    if craft.margin_c is not None:
        readings["temperature"] = Reading(LIMIT_C - craft.margin_c, "celsius", "simulated")
        readings["temperature_limit"] = Reading(LIMIT_C, "celsius", "simulated")
    return DeviceAdvert(
        name="cpu0",
        kind=craft.kind,
        model="virtual cpu",
        state=DeviceState.WARMING,
        slots=craft.slots,
        busy=0,
        memory_bytes=MEMORY_BYTES,
        readings=readings | craft.readings,
    )


def surroundings_of(craft: Craft, mono_s: Seconds) -> dict[str, Noted]:
    """Return what people and other programs on a virtual machine feel, as measured just now."""
    ratios = {"pressure_cpu": 0.0, "pressure_io": 0.0, "pressure_memory": 0.0,
              "foreign_cpu": craft.others}  # fmt: skip
    felt = {name: Reading(value, "ratio", "simulated") for name, value in ratios.items()}
    felt["lateness"] = Reading(0.001, "seconds", "simulated")
    felt |= craft.felt
    return {name: Noted(reading, mono_s) for name, reading in felt.items()}


@functools.cache
def simulated_catalog() -> Catalog:
    """Return this package's own kernels, whatever else is installed."""
    loaded = load_catalog()
    return Catalog({name: loaded.entries[name] for name in KERNELS})


@functools.cache
def point_ops(kernel: str) -> float:
    """Return the operations of one point of a kernel with its defaults."""
    spec = simulated_catalog().entry(kernel).kernel.spec
    return spec.demand(spec.validate({})).ops
