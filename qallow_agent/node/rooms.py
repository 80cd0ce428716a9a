"""The rooms of one node, and what is true of the node as a whole."""

from dataclasses import dataclass

from qallow_agent.base.contact import Contact
from qallow_agent.base.ids import MeshId, NodeId
from qallow_agent.energy.meters import Meters
from qallow_agent.ethics.charter import Charter
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.desk import Desk
from qallow_agent.kernels.registry import Catalog
from qallow_agent.ledger.council import Council
from qallow_agent.ledger.log import Log
from qallow_agent.ledger.mirror import Mirror
from qallow_agent.ledger.validation import Validation
from qallow_agent.mesh.adverts.book import AdvertBook
from qallow_agent.mesh.discovery.discovery import Discovery
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.membership.views import Views
from qallow_agent.mesh.sync.sync import Sync
from qallow_agent.mesh.trust.doorkeeper import Doorkeeper
from qallow_agent.node.observer import Observer
from qallow_agent.placement.settings import PlacementSettings


@dataclass(frozen=True, slots=True)
class Rooms:
    """One of each."""

    doorkeeper: Doorkeeper
    discovery: Discovery
    membership: Membership
    adverts: AdvertBook
    sync: Sync
    views: Views
    desk: Desk
    bench: Bench
    meters: Meters
    ledger: Log
    council: Council
    mirror: Mirror
    observer: Observer
    validation: Validation
    catalog: Catalog
    placement: PlacementSettings
    charter: Charter


@dataclass(frozen=True, slots=True)
class Self:
    """Who this node is."""

    node: NodeId
    name: str
    mesh: MeshId
    mesh_name: str
    contact: Contact
    epoch: int
    release: str
