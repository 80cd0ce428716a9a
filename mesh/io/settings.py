"""What an operator can tune of the transport."""

from dataclasses import dataclass

from qallow_agent.base.settings import setting


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Addresses, ports, limits and patience of the transport."""

    bind: str = setting(
        "0.0.0.0",  # noqa: S104 - a mesh node serves its LAN; every port is authenticated
        "IP address to listen on; 127.0.0.1 keeps the agent on this machine, :: adds IPv6.",
    )
    advertise: tuple[str, ...] = setting(
        (),
        "Addresses or names that others reach this node by; empty means those of its interfaces.",
    )
    stream_port: int = setting(7946, "TCP port of the mesh; 0 takes a free one.", ge=0, le=65535)
    door_port: int = setting(
        7947, "TCP port where new members knock; 0 takes a free one.", ge=0, le=65535
    )
    datagram_port: int = setting(
        7946, "UDP port of probes and gossip; 0 takes a free one.", ge=0, le=65535
    )
    datagrams: bool = setting(
        default=True, doc="Use UDP; without it everything travels over TCP and beacons are off."
    )
    beacon: bool = setting(default=True, doc="Shout on loopback and the LAN to be found.")
    beacon_group: str = setting("239.255.79.46", "IPv4 multicast group of the beacons.")
    beacon_port: int = setting(7945, "UDP port of the beacons.", ge=1, le=65535)
    # 64 KiB holds an advert of 64 devices; bulk data never travels here.
    message_limit_bytes: int = setting(
        65536, "Largest mesh message.", unit=" bytes", ge=4096, le=1048576
    )
    # 1,400 leaves room for tunnels (WireGuard's MTU is 1,420) below Ethernet's 1,500.
    datagram_limit_bytes: int = setting(
        1400, "Largest sealed datagram.", unit=" bytes", ge=512, le=65000
    )
    receive_buffer_bytes: int = setting(
        1048576, "Kernel buffer of the datagram lane.", unit=" bytes", ge=65536, le=67108864
    )
    high_water: int = setting(
        1000, "Messages queued per link before sends fail.", unit=" messages", ge=16, le=100000
    )
    waiting_limit: int = setting(
        64,
        "Messages kept for a link that is being established.",
        unit=" messages",
        ge=0,
        le=10000,
    )
    # Three seconds cover a handshake on a lossy link; older mesh messages only mislead.
    waiting_s: float = setting(
        3.0, "How long a message may wait for its link.", unit=" s", ge=0.0, le=60.0
    )
    connect_timeout_s: float = setting(
        2.0, "Patience for one TCP connect.", unit=" s", ge=0.1, le=60.0
    )
    handshake_timeout_s: float = setting(
        2.0, "Patience for one CURVE handshake.", unit=" s", ge=0.1, le=60.0
    )
    retry_first_s: float = setting(
        0.1, "First pause before a broken link is dialled again.", unit=" s", ge=0.01, le=60.0
    )
    retry_limit_s: float = setting(
        30.0, "Longest pause between dials of a broken link.", unit=" s", ge=0.1, le=3600.0
    )
    # Membership finds dead peers; heartbeats only reap half-open connections, so they stay rare.
    heartbeat_s: float = setting(
        20.0, "Pause between heartbeats on a silent link.", unit=" s", ge=1.0, le=3600.0
    )
    heartbeat_timeout_s: float = setting(
        15.0, "Silence after a heartbeat that breaks a link.", unit=" s", ge=0.5, le=3600.0
    )
    dial_hosts_limit: int = setting(
        4, "Addresses of one peer that are dialled in parallel.", unit=" addresses", ge=1, le=16
    )
    door_rate_hz: float = setting(
        50.0, "Handshakes per second the door accepts from one address.", unit="/s", ge=0.1, le=1e5
    )
    door_burst: int = setting(
        200, "Handshakes the door accepts at once from one address.", ge=1, le=100000
    )
    door_connections: int = setting(
        256, "Strangers that may stand at the door at once.", ge=1, le=10000
    )
    knocks_limit: int = setting(
        64, "Doors knocked at in parallel; more knocks wait.", ge=1, le=1000
    )
    # A busy peer sends some tens of messages a second; two thousand is a fault or an attack.
    peer_rate_hz: float = setting(
        2000.0, "Messages per second accepted from one peer.", unit="/s", ge=10.0, le=1e6
    )
    peer_burst: int = setting(
        4000, "Messages accepted at once from one peer.", unit=" messages", ge=10, le=1000000
    )
    resolve_timeout_s: float = setting(
        5.0, "Patience for one name lookup.", unit=" s", ge=0.1, le=60.0
    )
    resolve_refresh_s: float = setting(
        30.0, "Age at which a resolved name is looked up again.", unit=" s", ge=1.0, le=86400.0
    )
    flush_s: float = setting(
        0.1, "How long closing waits for queued messages to leave.", unit=" s", ge=0.0, le=5.0
    )
