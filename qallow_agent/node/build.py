"""Building a node: every room made once, from what the world hands in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from qallow_agent.base.contact import Contact
from qallow_agent.base.hlc import HybridClock
from qallow_agent.base.ids import Entropy, NodeId
from qallow_agent.base.keys import NodeKeys
from qallow_agent.energy.budget import Budget
from qallow_agent.energy.meters import Meters
from qallow_agent.ethics.charter import Charter
from qallow_agent.ethics.owner import OwnerPolicy
from qallow_agent.ethics.settings import EthicsSettings
from qallow_agent.jobs.bench import Bench
from qallow_agent.jobs.desk import Desk
from qallow_agent.jobs.model import KernelOffer
from qallow_agent.jobs.settings import JobSettings
from qallow_agent.kernels.registry import OURS, Catalog
from qallow_agent.ledger.council import Council
from qallow_agent.ledger.growth import Past
from qallow_agent.ledger.log import Log, Read, mark_of
from qallow_agent.ledger.mirror import Mirror, MirrorParts
from qallow_agent.ledger.seats import keys_from
from qallow_agent.ledger.settings import LedgerSettings
from qallow_agent.mesh.adverts.book import AdvertBook
from qallow_agent.mesh.adverts.settings import AdvertSettings
from qallow_agent.mesh.discovery.discovery import Discovery
from qallow_agent.mesh.discovery.settings import DiscoverySettings
from qallow_agent.mesh.membership.settings import MembershipSettings
from qallow_agent.mesh.membership.swim import Membership
from qallow_agent.mesh.membership.views import Views
from qallow_agent.mesh.sync.settings import SyncSettings
from qallow_agent.mesh.sync.sync import Sync
from qallow_agent.mesh.trust.doorkeeper import Doorkeeper
from qallow_agent.mesh.trust.settings import TrustSettings
from qallow_agent.mesh.trust.standing import Standing
from qallow_agent.mesh.wire.kinds import Incarnation, MemberRecord, MemberState
from qallow_agent.node.audits import Audits
from qallow_agent.node.node import Node
from qallow_agent.node.observer import Observer, make_council, make_validation
from qallow_agent.node.rooms import Rooms, Self
from qallow_agent.placement.settings import PlacementSettings

Kept = Callable[[str], Mapping[str, bytes]]
"""Room name -> what it persisted: full name -> bytes."""


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """The settings of every room."""

    trust: TrustSettings
    discovery: DiscoverySettings
    membership: MembershipSettings
    adverts: AdvertSettings
    sync: SyncSettings
    jobs: JobSettings
    placement: PlacementSettings
    ledger: LedgerSettings
    ethics: EthicsSettings


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What the world hands in to make a node.

    Args:
        keys: Its secrets.
        standing: Its membership.
        contact: Where its transport listens.
        epoch: This boot's epoch.
        release: The version of this build.
        catalog: The kernels it knows.
        settings: Every room's.
        rng: Entropy for jitter, draws and ids.
        kept: What its rooms persisted before.
        past: What its own log holds.
        read_tile: Reads that log's durable tiles.
        mirrored: Opens the copy of another node's log that is kept here.
        clock: Stamps what it logs and what it sends.
        owner_policy: What the file says that the setting ethics.policy_file names.
    """

    keys: NodeKeys
    standing: Standing
    contact: Contact
    epoch: int
    release: str
    catalog: Catalog
    settings: RoomSettings
    rng: Entropy
    kept: Kept
    past: Past
    read_tile: Read
    mirrored: Callable[[NodeId], Past]
    clock: HybridClock
    owner_policy: OwnerPolicy | None = None


def build_node(given: Ingredients) -> Node:
    """Return a node ready for its first tick.

    Raises:
        StorageCorrupt: A room cannot read what it kept.
    """
    certificate = given.standing.certificate
    me = Self(
        NodeId(certificate.node),
        certificate.name,
        given.standing.mesh,
        given.standing.mesh_name,
        given.contact,
        given.epoch,
        given.release,
    )
    rooms = _rooms(given, me)
    rooms.desk.learn_key(me.node, certificate.node_key)
    return Node(me, rooms, given.rng)


def _rooms(given: Ingredients, me: Self) -> Rooms:
    keys, settings, rng, kept = given.keys, given.settings, given.rng, given.kept
    sync = Sync(me=me.node, settings=settings.sync, rng=rng)
    doorkeeper = _doorkeeper(given)
    membership = Membership(
        me=_record(given, me), settings=settings.membership, rng=rng, kept=kept("membership")
    )
    log = _log(given, me, sync)
    observer = Observer(membership, doorkeeper, sync, log)
    adverts = _adverts(given, me)
    council = make_council(me.node, given.standing, keys, log, observer, rng, kept("coherence"))
    return Rooms(
        doorkeeper=doorkeeper,
        discovery=Discovery(
            me=me.node,
            mesh=me.mesh,
            contact=given.contact,
            curve_key=keys.curve.public,
            settings=settings.discovery,
            rng=rng,
            kept=kept("discovery"),
        ),
        membership=membership,
        adverts=adverts,
        sync=sync,
        views=Views(me=me.node, rng=rng),
        desk=Desk(me=me.node, settings=settings.jobs, rng=rng, kept=kept("jobs")),
        bench=_bench(given, me),
        meters=Meters(given.epoch, kept("energy"), _budget(given)),
        ledger=log,
        council=council,
        mirror=_mirror(given, me, log, observer, council),
        observer=observer,
        validation=make_validation(me.node, me.mesh, keys, observer),
        catalog=given.catalog,
        placement=settings.placement,
        charter=_charter(given),
        ethics=settings.ethics,
        audits=Audits(kept("ethics"), adverts),
    )


def _budget(given: Ingredients) -> Budget:
    said = given.settings.ethics
    return Budget(said.budget_joules, said.budget_window_s, given.kept("energy"))


def _bench(given: Ingredients, me: Self) -> Bench:
    return Bench(
        me=me.node,
        node_name=me.name,
        identity=given.keys.identity,
        hosts=given.contact.hosts,
        kernels=_offers(given.catalog),
        settings=given.settings.jobs,
        rng=given.rng,
    )


def _adverts(given: Ingredients, me: Self) -> AdvertBook:
    return AdvertBook(
        me=me.node,
        identity=given.keys.identity,
        epoch=given.epoch,
        release=given.release,
        settings=given.settings.adverts,
        rng=given.rng,
    )


def _charter(given: Ingredients) -> Charter:
    """Return the policy room; it signs with this mesh's key, not with that of one founded once."""
    key, mesh_key = given.keys.mesh, given.standing.mesh_key
    return Charter(
        mesh_key=mesh_key,
        signer=key if key is not None and key.public == mesh_key else None,
        settings=given.settings.ethics,
        rng=given.rng,
        kept=given.kept("ethics"),
        by_file=given.owner_policy,
    )


def _doorkeeper(given: Ingredients) -> Doorkeeper:
    return Doorkeeper(
        keys=given.keys,
        standing=given.standing,
        contact=given.contact,
        settings=given.settings.trust,
        rng=given.rng,
        kept=given.kept("trust"),
    )


def _mirror(given: Ingredients, me: Self, log: Log, observer: Observer, council: Council) -> Mirror:
    """Return what keeps the logs of other nodes."""
    parts = MirrorParts(
        members=observer.members,
        past=given.mirrored,
        card=council.card,
        key_for=keys_from(given.keys.ledger),
        manifest=lambda: council.committee.manifest,
    )
    return Mirror(me=me.node, mesh=me.mesh, settings=given.settings.ledger, log=log, parts=parts)


def _log(given: Ingredients, me: Self, sync: Sync) -> Log:
    """Return the node's own log."""
    began = mark_of(me.mesh) in given.kept("ledger")
    return Log(
        node=me.node,
        mesh=me.mesh,
        seed=given.keys.ledger,
        settings=given.settings.ledger,
        past=replace(given.past, began=began),
        read=given.read_tile,
        clock=given.clock,
        bound=sync.wall_error_s,
    )


def _offers(catalog: Catalog) -> tuple[KernelOffer, ...]:
    """Return the kernels of a catalog as the bench wants to know them."""
    return tuple(
        KernelOffer(
            offer.name,
            offer.hash,
            offer.backends,
            lanes=catalog.entry(offer.name).kernel.spec.parallel_points,
            foreign=catalog.entry(offer.name).origin != OURS,
        )
        for offer in catalog.adverts()
    )


def _record(given: Ingredients, me: Self) -> MemberRecord:
    """Return what this node says of itself as a member."""
    return MemberRecord(
        node=me.node,
        state=MemberState.ALIVE,
        incarnation=Incarnation(given.epoch),
        name=me.name,
        contact=given.contact,
        curve_key=given.keys.curve.public,
    )
