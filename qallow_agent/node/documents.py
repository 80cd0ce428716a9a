"""What a node says of itself and its mesh: JSON-shaped documents with a named schema."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from qallow_agent.base.complaint import Complaint
from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.base.units import Seconds, show_seconds
from qallow_agent.ethics.origins import describe
from qallow_agent.kernels.registry import Catalog
from qallow_agent.ledger import health
from qallow_agent.mesh.wire.facts import Sensed
from qallow_agent.mesh.wire.kinds import (
    Advert,
    Certificate,
    DeviceAdvert,
    DeviceState,
    KernelAdvert,
    MemberRecord,
    MemberState,
)
from qallow_agent.node.devices import complaints
from qallow_agent.node.gatehouse import admission, closed, report_document
from qallow_agent.node.governance import Governance
from qallow_agent.node.quorum import coherence_document, fork_problems, ledger_document
from qallow_agent.node.rooms import Rooms, Self

Document = dict[str, Any]

_WARN_EXPIRY_S = 30 * 86_400
"""A certificate that ends within a month, and in the last quarter of its life, is a problem."""

_UNWELL = {
    MemberState.SUSPECT: (
        "does not answer",
        "wait a few seconds; if it stays, check its power and its link",
    ),
    MemberState.DEAD: (
        "is gone",
        "start its agent, or check its power and its link; it is tried again by itself",
    ),
}


@dataclass(frozen=True, slots=True)
class View:
    """What documents are made from: the node, its rooms and the moment."""

    me: Self
    rooms: Rooms
    now: Instant
    state: str
    uptime_s: Seconds
    changed_s: Mapping[NodeId, Seconds]
    sensed: Sensed | None
    trouble: str
    governance: Governance

    def adverts(self) -> dict[NodeId, Advert]:
        """Return the live adverts by node."""
        return dict(self.rooms.adverts.snapshot())


def status(view: View) -> Document:
    """Return ``qallow.status/v1``: what a person asks first."""
    me, rooms = view.me, view.rooms
    states = Counter(record.state for record in rooms.membership.members())
    problems = _problems(view)
    readings = view.sensed.readings if view.sensed else {}
    memory = readings.get("agent_memory")
    return {
        "schema": "qallow.status/v1",
        "node": me.node,
        "name": me.name,
        "mesh": me.mesh,
        "mesh_name": me.mesh_name,
        "release": me.release,
        "state": "degraded" if view.state == "ready" and problems else view.state,
        "uptime_s": view.uptime_s,
        "members": {
            "known": sum(states.values()),
            **{state.value: states.get(state, 0) for state in MemberState},
        },
        "canaries": _canaries(view),
        "clock": rooms.sync.document(view.now),
        "work": {
            "jobs_running": rooms.desk.running(),
            "leases": len(rooms.bench.leases()),
            "slots_busy": sum(device.busy for device in own_devices(view)),
            "slots_total": sum(device.slots for device in own_devices(view)),
        },
        "admission": admission(own_devices(view), view.governance.judged),
        "closed": closed(
            view.adverts(), {each.node: each.name for each in rooms.membership.members()}
        ),
        "audits": rooms.audits.document(),
        "memory_rss_bytes": None if memory is None else memory.value,
        "policy": _policy(view),
        "ledger": ledger_document(rooms),
        "coherence": coherence_document(rooms, view.now),
        "validators": view.governance.validators.document(),
        "problems": problems,
    }


def _policy(view: View) -> Document:
    """Return which policy is in force, and what is not as usual about it."""
    whole = describe(view.rooms.charter.holds, view.now)
    kept = ("version", "digest", "preset", "consent", "quiet_until_s", "pause", "overrides")
    return {key: whole[key] for key in kept}


def peers(view: View) -> Document:
    """Return ``qallow.peers/v1``: every known member."""
    adverts = view.adverts()
    return {
        "schema": "qallow.peers/v1",
        "peers": [_peer(view, record, adverts) for record in view.rooms.membership.members()],
    }


def devices(view: View) -> Document:
    """Return ``qallow.devices/v1``: every device of every live member."""
    names = {record.node: record.name for record in view.rooms.membership.members()}
    adverts = view.adverts()
    rows = [
        {"node": node, "name": names.get(node, node), "device": device.name}
        | {key: value for key, value in msgspec.to_builtins(full(device)).items() if key != "name"}
        | {"gate": report_document(device.gate)}
        for node, advert in sorted(adverts.items())
        for device in (own_devices(view) if node == view.me.node else advert.devices)
    ]
    return {"schema": "qallow.devices/v1", "devices": rows}


def diagnosis(view: View) -> Document:
    """Return ``qallow.diagnosis/v1``: what only the agent itself can check."""
    contact, rooms = view.me.contact, view.rooms
    catalog = rooms.catalog
    return {
        "schema": "qallow.diagnosis/v1",
        "contact": {
            "hosts": list(contact.hosts),
            "stream_port": contact.stream,
            "door_port": contact.door,
            "datagram_port": contact.datagram,
        },
        "peers_alive": len(rooms.membership.alive()) - 1,
        "canaries": _canaries(view),
        "kernels": list(catalog.names),
        "kernel_problems": [dict(trouble.facts) for trouble in catalog.troubles],
        "clock": rooms.sync.document(view.now),
        "store": view.trouble,
        "problems": _problems(view),
    }


def own_devices(view: View) -> tuple[DeviceAdvert, ...]:
    """Return this node's devices as they are now."""
    sensed = view.sensed.devices if view.sensed else ()
    return view.governance.told(merge_devices(sensed, view.rooms))


def merge_devices(sensed: tuple[DeviceAdvert, ...], rooms: Rooms) -> tuple[DeviceAdvert, ...]:
    """Return devices as probed, with what the bench knows: state, busy slots, rates."""
    standing = {device.name: device for device in rooms.bench.device_states()}
    merged: list[DeviceAdvert] = []
    for device in sensed:
        known = standing.get(device.name)
        if known is None:
            merged.append(device)
            continue
        merged.append(
            msgspec.structs.replace(
                device,
                state=DeviceState(known.state),
                why=known.why,
                fix=known.fix,
                busy=known.busy,
                warm=known.warm,
                waiting=known.waiting,
                reserved_bytes=known.reserved_bytes,
                tried=known.tried,
                trial=known.trial,
                rates=dict(known.rates),
                joules=rooms.meters.rates(device.name),
            )
        )
    return tuple(merged)


def kernel_adverts(catalog: Catalog) -> tuple[KernelAdvert, ...]:
    """Return the kernels of a catalog as an advert names them."""
    return tuple(
        KernelAdvert(offer.name, offer.version, offer.hash, offer.backends)
        for offer in catalog.adverts()
    )


def full(device: DeviceAdvert) -> Any:
    """Return a device with every field spelled out, defaults included."""
    names = device.__struct_fields__
    return {name: getattr(device, name) for name in names}


def _peer(view: View, record: MemberRecord, adverts: dict[NodeId, Advert]) -> Document:
    rooms = view.rooms
    credential = rooms.doorkeeper.credential_of(record.node)
    certificate = None if credential is None else credential.certificate
    clock = rooms.sync.peer_offset(record.node)
    since_s = view.changed_s.get(record.node)
    advert = adverts.get(record.node)
    return {
        "node": record.node,
        "name": record.name,
        "self": record.node == view.me.node,
        "state": "revoked" if rooms.doorkeeper.is_revoked(record.node) else record.state.value,
        "addresses": list(record.contact.addresses(record.contact.stream)),
        "age_s": None if since_s is None else view.now.mono_s - since_s,
        "rtt_s": None if clock is None else clock.rtt_s,
        "offset_s": None if clock is None else clock.offset_s,
        "bound_s": None if clock is None else clock.bound_s,
        "slow": record.node in rooms.sync.slow(),
        "roles": [] if certificate is None else [role.value for role in certificate.roles],
        "zone": "" if certificate is None else certificate.zone,
        "release": "" if advert is None else advert.release,
        "expires_s": None if certificate is None else certificate.expires_s - view.now.wall_s,
    }


def _canaries(view: View) -> dict[str, int]:
    states = [device.state for device in own_devices(view) if device.slots]
    return {
        "passed": sum(state in {DeviceState.OK, DeviceState.HOT} for state in states),
        "failed": sum(state in {DeviceState.LOST, DeviceState.QUARANTINED} for state in states),
        "pending": sum(state is DeviceState.WARMING for state in states),
    }


def _problems(view: View) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for record in view.rooms.membership.members():
        if view.rooms.doorkeeper.is_revoked(record.node):
            continue
        if record.state in _UNWELL:
            what, fix = _UNWELL[record.state]
            found.append({"node": record.node, "name": record.name, "what": what, "fix": fix})
        credential = view.rooms.doorkeeper.credential_of(record.node)
        if credential is not None and record.state is MemberState.ALIVE:
            found += _expiry(view, record, credential.certificate)
    found += _distrusted(view)
    own = complaints(view.sensed, own_devices(view))
    if view.trouble:
        own.append(Complaint(view.trouble, "free space on the disk of the state directory"))
    own += health.complaints(view.rooms.ledger)
    found += fork_problems(view.rooms)
    return found + [
        {"node": view.me.node, "name": view.me.name, "what": each.why, "fix": each.fix}
        for each in own
    ]


def _distrusted(view: View) -> list[dict[str, str]]:
    """Return the devices that this node gives no work because of what audits found."""
    names = {record.node: record.name for record in view.rooms.membership.members()}
    found: list[dict[str, str]] = []
    for place, complaint in sorted(view.rooms.audits.complaints().items()):
        node, _, device = place.partition("/")
        name = names.get(NodeId(node), node)
        what = f"device {device} gets no work from here: {complaint.why}"
        found.append({"node": node, "name": name, "what": what, "fix": complaint.fix})
    return found


def _expiry(view: View, record: MemberRecord, certificate: Certificate) -> list[dict[str, str]]:
    left_s = certificate.expires_s - view.now.wall_s
    life_s = certificate.expires_s - certificate.issued_s
    if left_s > min(_WARN_EXPIRY_S, life_s / 4):
        return []
    return [
        {
            "node": record.node,
            "name": record.name,
            "what": f"its certificate ends in {show_seconds(max(0.0, left_s))}",
            "fix": "let it reach a node that may issue certificates; it renews by itself",
        }
    ]
