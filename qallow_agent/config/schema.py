"""The whole configuration in one tree: every room's settings, composed."""

from dataclasses import dataclass, field

from qallow_agent.base.settings import setting
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.placement.settings import PlacementSettings
from qallow_agent.runtime.device_settings import DeviceSettings
from qallow_agent.runtime.settings import RunnerSettings


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """This agent itself: its name, where it keeps its state, how it logs."""

    name: str = setting(
        "", "Name shown to people; letters, digits, '.', '_' and '-'. Empty: the host's name."
    )
    mesh_name: str = setting(
        "home", "Name of the mesh that the first start founds; a joining node takes its mesh's."
    )
    state_dir: str = setting(
        "",
        "Keys, certificate and everything that must survive a restart; one agent each. Empty: "
        "$STATE_DIRECTORY as systemd sets it, else $XDG_STATE_HOME/qallow, else "
        "~/.local/state/qallow.",
    )
    cache_dir: str = setting(
        "",
        "Compiled kernels and other things that can be made anew; agents of one user share it. "
        "Empty: $CACHE_DIRECTORY as systemd sets it, else $XDG_CACHE_HOME/qallow, else "
        "~/.cache/qallow.",
    )
    socket: str = setting(
        "",
        "Unix socket that local programs and this command line talk to; at most 100 bytes. Empty: "
        "$QALLOW_SOCKET, else agent.sock in the state directory.",
    )
    log_level: str = setting(
        "info", "The quietest level that is logged.", choices=("debug", "info", "warning", "error")
    )
    log_format: str = setting(
        "auto",
        "How log lines look on stderr; auto is text on a terminal and JSON elsewhere.",
        choices=("auto", "text", "json"),
    )


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Finding, trusting and hearing the other nodes."""

    transport: TransportSettings = field(default_factory=TransportSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    membership: MembershipSettings = field(default_factory=MembershipSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    adverts: AdvertSettings = field(default_factory=AdvertSettings)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an agent can be told; the defaults are a working agent."""

    node: NodeSettings = field(default_factory=NodeSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    kernels: KernelSettings = field(default_factory=KernelSettings)
    runners: RunnerSettings = field(default_factory=RunnerSettings)
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    ethics: EthicsSettings = field(default_factory=EthicsSettings)
