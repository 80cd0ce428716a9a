"""ZeroMQ sockets with every limit set: nothing here blocks, queues or grows without bound."""

import zmq

from qallow_agent.base.keys import CurveKey
from qallow_agent.mesh.io.settings import TransportSettings
from qallow_agent.mesh.io.zap import require_handler

# libzmq compares MAXMSGSIZE with the encrypted frame, which CURVE makes 33 bytes longer.
_CURVE_OVERHEAD_BYTES = 64
# The peer's listener drops a link that was silent for this many heartbeats.
_HEARTBEATS_TO_LIVE = 3
_HEARTBEAT_TTL_LIMIT_MS = 6_553_599


def server(
    context: "zmq.Context[zmq.Socket[bytes]]",
    settings: TransportSettings,
    curve: CurveKey,
    domain: bytes,
) -> "zmq.Socket[bytes]":
    """Return an unbound CURVE ROUTER that asks the ZAP handler about every client.

    Raises:
        InvariantBroken: The context has no ZAP handler.
    """
    require_handler(context)
    socket = context.socket(zmq.ROUTER)
    _limit(socket, settings, settings.high_water)
    socket.curve_server = 1
    socket.curve_secretkey = curve.secret
    socket.zap_domain = domain
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.router_mandatory = 1
    # Two clients may claim one routing id; the first keeps it. Ids never mean anything here.
    socket.router_handover = 0
    return socket


def client(
    context: "zmq.Context[zmq.Socket[bytes]]",
    settings: TransportSettings,
    curve: CurveKey,
    server_key: bytes,
    receive_limit: int,
) -> "zmq.Socket[bytes]":
    """Return an unconnected CURVE DEALER that never reconnects by itself.

    libzmq's own reconnect keeps the first interval for ever, cannot be hurried when a peer is
    heard again, and gives up for good after some handshake failures; dialling anew has none of
    these habits.

    Raises:
        zmq.ZMQError: The server key is none, or no descriptor is left.
    """
    socket = context.socket(zmq.DEALER)
    try:
        socket.curve_serverkey = server_key
    except zmq.ZMQError:
        socket.close(0)
        raise
    _limit(socket, settings, receive_limit)
    socket.curve_publickey = curve.public
    socket.curve_secretkey = curve.secret
    socket.immediate = 1  # queue only on links that are up
    socket.reconnect_ivl = -1
    socket.connect_timeout = _ms(settings.connect_timeout_s)
    socket.heartbeat_ivl = _ms(settings.heartbeat_s)
    socket.heartbeat_timeout = _ms(settings.heartbeat_timeout_s)
    time_to_live_ms = _ms(settings.heartbeat_s * _HEARTBEATS_TO_LIVE)
    socket.heartbeat_ttl = min(time_to_live_ms, _HEARTBEAT_TTL_LIMIT_MS)
    # Unacknowledged bytes break a link after this long, instead of TCP's quarter of an hour.
    socket.tcp_maxrt = _ms(settings.heartbeat_timeout_s)
    return socket


def _limit(socket: "zmq.Socket[bytes]", settings: TransportSettings, receive_limit: int) -> None:
    socket.linger = 0
    socket.maxmsgsize = settings.message_limit_bytes + _CURVE_OVERHEAD_BYTES
    socket.sndhwm = settings.high_water
    socket.rcvhwm = receive_limit
    socket.handshake_ivl = _ms(settings.handshake_timeout_s)
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = 60
    socket.ipv6 = 1


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
