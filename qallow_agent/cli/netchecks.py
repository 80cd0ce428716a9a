"""What ``doctor`` checks on the network: ports, discovery paths, seeds, the agent and its peers."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from qallow_agent.base.errors import AgentUnreachable, QallowError
from qallow_agent.base.units import show_seconds
from qallow_agent.cli.checks import Check
from qallow_agent.cli.options import LocalAgent
from qallow_agent.config.schema import Settings
from qallow_agent.node.commands import GetDiagnosis, GetPeers, GetStatus

_ECHO_S = 1.0
_RESOLVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the running agent said of itself.

    Args:
        status: Its status document.
        ports: The ports it listens on.
    """

    status: dict[str, Any]
    ports: frozenset[int]


def agent_checks(agent: LocalAgent) -> tuple[list[Check], Answers | None]:
    """Ask the agent how it is; return the findings and its answers, None when it is down."""
    try:
        status = agent.report(GetStatus()).document
        peers = agent.report(GetPeers()).document.get("peers", ())
        diagnosis = agent.report(GetDiagnosis()).document
    except AgentUnreachable as error:
        return [Check("warn", "agent", error.message, error.hint)], None
    except QallowError as error:
        return [Check("fail", "agent", error.message, error.hint)], None
    name, state = status.get("name", "?"), status.get("state", "?")
    found = [Check("ok" if state == "ready" else "warn", "agent", f"{name} is {state}")]
    for problem in status.get("problems") or ():
        what = f"{problem.get('name', '')}: {problem.get('what', '')}"
        found.append(Check("warn", "mesh", what, str(problem.get("fix", ""))))
    found += [
        Check("warn", "kernels", str(problem), "reinstall or disable that plug-in")
        for problem in diagnosis.get("kernel_problems") or ()
    ]
    if diagnosis.get("store"):
        found.append(Check("fail", "store", str(diagnosis["store"]), "free space on its disk"))
    found += [_peer_check(peer) for peer in peers if peer.get("node") != status.get("node")]
    found += _mesh_clock_checks(status.get("clock") or {})
    contact = diagnosis.get("contact") or {}
    ports = (contact.get(f"{lane}_port") for lane in ("stream", "door", "datagram"))
    return found, Answers(status, frozenset(port for port in ports if isinstance(port, int)))


def _peer_check(peer: dict[str, Any]) -> Check:
    addresses = ", ".join(str(address) for address in peer.get("addresses") or ())
    what = f"{peer.get('name', '?')} is {peer.get('state', '?')} at {addresses or 'no address'}"
    if peer.get("state") == "alive":
        rtt_s = peer.get("rtt_s")
        return Check("ok", "peer", what + (f", {show_seconds(rtt_s)} away" if rtt_s else ""))
    if peer.get("state") == "left":
        return Check("ok", "peer", what)
    return Check("warn", "peer", what, "is it on, and do its ports get through the firewall?")


def _mesh_clock_checks(clock: dict[str, Any]) -> list[Check]:
    offset_s, bound_s = clock.get("offset_s"), clock.get("bound_s")
    if offset_s is None or bound_s is None:
        return []
    what = f"{show_seconds(offset_s)} from the mesh, at most {show_seconds(bound_s)} wrong"
    if abs(offset_s) > 1 + bound_s:
        return [Check("warn", "mesh-clock", what, "set this box's clock, or the others'")]
    return [Check("ok", "mesh-clock", what)]


def port_checks(settings: Settings, held: frozenset[int] = frozenset()) -> Iterator[Check]:
    """Try to bind every port of the configuration, or name who has it.

    Args:
        settings: The configuration.
        held: Ports that the running agent itself listens on.
    """
    transport = settings.mesh.transport
    wanted = [
        ("stream_port", socket.SOCK_STREAM, transport.stream_port),
        ("door_port", socket.SOCK_STREAM, transport.door_port),
    ]
    if transport.datagrams:
        wanted.append(("datagram_port", socket.SOCK_DGRAM, transport.datagram_port))
    for setting, kind, port in wanted:
        lane = "tcp" if kind == socket.SOCK_STREAM else "udp"
        what = f"{port}/{lane} ({setting})"
        if port == 0:
            yield Check("ok", "port", f"{setting}: a free one is taken at start")
            continue
        if port in held:
            yield Check("ok", "port", f"{what} is the running agent's")
            continue
        try:
            _try_bind(transport.bind, port, kind)
        except OSError as error:
            yield _taken(what, setting, port, kind, error)
        else:
            yield Check("ok", "port", f"{what} is free")


def _try_bind(host: str, port: int, kind: socket.SocketKind) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _taken(what: str, setting: str, port: int, kind: socket.SocketKind, error: OSError) -> Check:
    elsewhere = f"choose another with --set mesh.transport.{setting}=0 (0: any free one)"
    if error.errno != errno.EADDRINUSE:
        return Check("fail", "port", f"{what} cannot be bound: {error.strerror}", elsewhere)
    owner = _owner(port, kind) or "another program"
    return Check("fail", "port", f"{what} is taken by {owner}", f"stop it, or {elsewhere}")


def _owner(port: int, kind: socket.SocketKind) -> str | None:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("inet"):
            local = connection.laddr
            if local and local.port == port and connection.type == kind and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def discovery_checks(settings: Settings) -> Iterator[Check]:
    """Send a datagram to the beacon group on loopback and every LAN interface, and hear it."""
    transport = settings.mesh.transport
    if not (transport.beacon and transport.datagrams):
        yield Check("ok", "beacon", "switched off: only seeds and the address book find others")
    else:
        yield _beacon_check("loopback", "127.0.0.1", transport.beacon_group)
        lan = _lan_addresses()
        for name, address in lan:
            yield _beacon_check(name, address, transport.beacon_group)
        if not lan:
            yield Check(
                "warn",
                "beacon",
                "no LAN interface is up: only agents on this machine are discovered",
                "name a member with --set mesh.discovery.seeds=HOST:7946",
            )
    for seed in settings.mesh.discovery.seeds:
        yield _seed_check(seed)


def _lan_addresses() -> list[tuple[str, str]]:
    statuses = psutil.net_if_stats()
    return [
        (name, address.address)
        for name, addresses in sorted(psutil.net_if_addrs().items())
        for address in addresses
        if address.family == socket.AF_INET
        and not address.address.startswith("127.")
        and name in statuses
        and statuses[name].isup
    ]


def _beacon_check(name: str, address: str, group: str) -> Check:
    try:
        heard = _hears_itself(address, group)
    except OSError as error:
        return Check(
            "warn", "beacon", f"{name} ({address}): {error.strerror or error}", "use seeds there"
        )
    if not heard:
        return Check(
            "warn",
            "beacon",
            f"{name} ({address}): own multicast to {group} is not heard",
            "allow UDP multicast in the firewall, or use seeds",
        )
    return Check("ok", "beacon", f"{name} ({address}) carries multicast")


def _hears_itself(address: str, group: str) -> bool:
    token = b"qallow-doctor"
    member = socket.inet_aton(group) + socket.inet_aton(address)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind(("", 0))
        ear.settimeout(_ECHO_S)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        mouth.sendto(token, (group, ear.getsockname()[1]))
        try:
            return ear.recv(len(token)) == token
        except TimeoutError:
            return False


def _seed_check(seed: str) -> Check:
    host = seed.rpartition(":")[0].strip("[]") or seed
    found: list[str] = []

    def resolve() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(str(item[4][0]) for item in socket.getaddrinfo(host, None))

    lookup = threading.Thread(target=resolve, daemon=True)
    lookup.start()
    lookup.join(_RESOLVE_S)
    if not found:
        return Check("warn", "seed", f"{seed} does not resolve", "check its spelling and the DNS")
    return Check("ok", "seed", f"{seed} is {', '.join(sorted(set(found)))}")
