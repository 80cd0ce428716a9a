"""Builds the embedded transport: takes the ports, opens the sockets, wires the parts."""

import errno
import ipaddress
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import zmq

from qallow_agent.base.contact import Contact
from qallow_agent.base.errors import ConfigError
from qallow_agent.base.ids import Address, Entropy, NodeId, door
from qallow_agent.base.keys import CurveKey
from qallow_agent.mesh.io.addresses import advertised_hosts
from qallow_agent.mesh.io.buckets import Buckets
from qallow_agent.mesh.io.dial import Dial, open_monitor, start_dial
from qallow_agent.mesh.io.dns_seeds import Resolver
from qallow_agent.mesh.io.knocks import Knocks
from qallow_agent.mesh.io.links import Links
from qallow_agent.mesh.io.listeners import Crowd, Listener
from qallow_agent.mesh.io.port import Clock
from qallow_agent.mesh.io.readiness import Readiness
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.sockets import client, server
from qallow_agent.mesh.io.transport import CurveTransport, Servers, Speakers
from qallow_agent.mesh.io.udp import DatagramLane, open_lane
from qallow_agent.mesh.io.udp_beacon import BeaconPost, open_ear, open_mouth
from qallow_agent.mesh.io.zap import (
    DOOR_DOMAIN,
    MESH_DOMAIN,
    Gate,
    ZapHandler,
    open_handler_socket,
)

_CALLERS_LIMIT = 4096


def bind(
    settings: TransportSettings, curve_secret: bytes, clock: Clock, rng: Entropy | None = None
) -> CurveTransport:
    """Return a transport that listens; its datagram lane waits for ``unlock``.

    Args:
        settings: Addresses, ports, limits.
        curve_secret: The node's CURVE secret: identity of both servers and of every client.
        clock: Reads both clocks.
        rng: Spreads redials, so that a crowd does not return in step; default the system's.

    Raises:
        ConfigError: The bind address is none of ours or a port is taken; nothing stays open.
    """
    _check_bind(settings.bind)
    curve = CurveKey(curve_secret)
    with ExitStack() as undo:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        undo.callback(context.destroy, 0)
        readiness = Readiness()
        undo.callback(readiness.close)
        gate = Gate()
        servers = _open_servers(context, settings, curve)
        lane = _open_lane(settings, clock, readiness.drops)
        if lane is not None:
            undo.callback(lane.close)
        beacon = _open_beacon(settings, lane, clock, readiness.drops)
        contact = Contact(
            hosts=settings.advertise or advertised_hosts(settings.bind),
            stream=_port(servers.mesh),
            door=_port(servers.door),
            datagram=lane.port if lane is not None else 0,
        )
        dice = rng if rng is not None else random.SystemRandom()
        speakers = _build_speakers(settings, curve, servers, readiness, clock, dice, lane, beacon)
        transport = CurveTransport(settings, contact, servers, speakers, gate, readiness)
        _watch_servers(settings, servers, gate, speakers.links.heard, readiness, clock)
        _watch_speakers(speakers, readiness, transport)
        undo.pop_all()
        return transport


def _check_bind(bind_address: str) -> None:
    try:
        ipaddress.ip_address(bind_address)
    except ValueError as error:
        raise ConfigError(
            f"the transport's bind address {bind_address!r} is no IP address",
            hint="write an address of this machine, 127.0.0.1, 0.0.0.0 or ::",
        ) from error


def _open_servers(
    context: "zmq.Context[zmq.Socket[bytes]]", settings: TransportSettings, curve: CurveKey
) -> Servers:
    zap = open_handler_socket(context)
    mesh = server(context, settings, curve, MESH_DOMAIN)
    _listen(mesh, settings.bind, settings.stream_port, "stream_port")
    door_socket = server(context, settings, curve, DOOR_DOMAIN)
    monitor = open_monitor(context, door_socket, Crowd.EVENTS)
    _listen(door_socket, settings.bind, settings.door_port, "door_port")
    return Servers(context, zap, mesh, door_socket, monitor)


def _listen(router: "zmq.Socket[bytes]", bind_address: str, port: int, key: str) -> None:
    host = f"[{bind_address}]" if ":" in bind_address else bind_address
    try:
        router.bind(f"tcp://{host}:{port or '*'}")
    except zmq.ZMQError as error:
        raise _cannot_listen(bind_address, port, "TCP", key, error.errno) from error


def _open_lane(
    settings: TransportSettings, clock: Clock, drops: Counter[str]
) -> DatagramLane | None:
    if not settings.datagrams:
        return None
    try:
        lane = open_lane(settings.bind, settings.datagram_port, settings.receive_buffer_bytes)
    except OSError as error:
        raise _cannot_listen(
            settings.bind, settings.datagram_port, "UDP", "datagram_port", error.errno
        ) from error
    return DatagramLane(lane, settings.datagram_limit_bytes, clock, drops)


def _cannot_listen(
    bind_address: str, port: int, protocol: str, key: str, number: int | None
) -> ConfigError:
    if number == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"cannot listen on {bind_address}: it is no address of this machine",
            hint="set mesh.transport.bind to an address of this machine, 127.0.0.1, 0.0.0.0 or ::",
        )
    if number == errno.EACCES:
        hint = f"choose a port above 1023 with --set mesh.transport.{key}=PORT"
    else:
        hint = (
            f"stop what uses the port (is another agent running?), or choose another "
            f"with --set mesh.transport.{key}=0 (0 takes a free one)"
        )
    why = os.strerror(number) if number is not None else "no reason given"
    return ConfigError(
        f"cannot listen on {protocol} port {port} of {bind_address}: {why}", hint=hint
    )


def _open_beacon(
    settings: TransportSettings, lane: DatagramLane | None, clock: Clock, drops: Counter[str]
) -> BeaconPost | None:
    if lane is None or not settings.beacon:
        return None
    try:
        ear = open_ear(settings.beacon_port)
    except OSError:
        # Other ways to be found remain; doctor shows this counter.
        drops["beacon.port-taken"] += 1
        return None
    post = BeaconPost(
        ear,
        open_mouth(),
        group=settings.beacon_group,
        port=settings.beacon_port,
        loopback_only=ipaddress.ip_address(settings.bind).is_loopback,
        limit_bytes=settings.datagram_limit_bytes,
        accept=lane.accept,
        clock=clock,
        drops=drops,
    )
    post.refresh(clock().mono_s)
    return post


def _build_speakers(
    settings: TransportSettings,
    curve: CurveKey,
    servers: Servers,
    readiness: Readiness,
    clock: Clock,
    rng: Entropy,
    lane: DatagramLane | None,
    beacon: BeaconPost | None,
) -> Speakers:
    def dial(server_key: bytes, addresses: tuple[Address, ...], receive_limit: int) -> Dial:
        dealer = client(servers.context, settings, curve, server_key, receive_limit)
        return start_dial(servers.context, dealer, addresses, clock().mono_s)

    resolver = Resolver(settings.resolve_timeout_s, settings.resolve_refresh_s, clock)
    links = Links(settings, dial, resolver, readiness, clock, rng)
    knocks = Knocks(settings, dial, resolver, readiness, clock)
    return Speakers(links, knocks, resolver, lane, beacon)


def _watch_servers(
    settings: TransportSettings,
    servers: Servers,
    gate: Gate,
    heard: Callable[[NodeId], None],
    readiness: Readiness,
    clock: Clock,
) -> None:
    drops, limit_bytes = readiness.drops, settings.message_limit_bytes

    def member(_routing_id: bytes, user: str) -> NodeId | None:
        return gate.node_of(user)

    def stranger(routing_id: bytes, _user: str) -> str:
        return door(routing_id.hex())

    crowd = Crowd(servers.door_monitor)
    callers: Buckets[bytes] = Buckets(settings.door_rate_hz, settings.door_burst, _CALLERS_LIMIT)
    handler = ZapHandler(
        servers.zap, gate, callers, heard, crowd.__len__, settings.door_connections, clock, drops
    )
    mesh = Listener(servers.mesh, limit_bytes, member, clock, drops)
    at_door = Listener(servers.door, limit_bytes, stranger, clock, drops)
    readiness.watch(servers.door_monitor.FD, crowd.drain)
    readiness.watch(servers.zap.FD, handler.drain)
    readiness.watch(servers.mesh.FD, mesh.drain)
    readiness.watch(servers.door.FD, at_door.drain)


def _watch_speakers(speakers: Speakers, readiness: Readiness, transport: CurveTransport) -> None:
    speakers.resolver.on_answer = transport.name_known
    readiness.watch(speakers.resolver.fileno(), speakers.resolver.drain)
    if speakers.lane is not None:
        readiness.watch(speakers.lane.fileno(), speakers.lane.drain)
    if speakers.beacon is not None:
        readiness.watch(speakers.beacon.fileno(), speakers.beacon.drain)


def _port(listening: "zmq.Socket[bytes]") -> int:
    endpoint = listening.getsockopt(zmq.LAST_ENDPOINT)
    text = endpoint.decode() if isinstance(endpoint, bytes) else str(endpoint)
    return int(text.rstrip("\0").rpartition(":")[2])
