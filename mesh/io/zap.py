"""Who may pass: the ZAP handler, in the loop, for the mesh and the door.

libzmq lets *any* client in that knows a CURVE server's public key unless a ZAP handler says no.
So :func:`require_handler` refuses to go on without one, and every server socket enforces it.

The User-Id given to a connection is its CURVE key, not its node id: who a key belongs to is looked
up anew at every packet, so that a connection made before a key was replaced or expelled is worth
nothing afterwards, although libzmq keeps it open.

Source: ZeroMQ RFC 27 (ZAP), RFC 26 (CurveZMQ).
"""

from collections import Counter
from collections.abc import Callable, Sequence

import zmq

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.base.ids import NodeId
from qallow_agent.mesh.io.buckets import Buckets
from qallow_agent.mesh.io.port import Arrival, Clock
from qallow_agent.mesh.io.readiness import FAIR_SHARE

ENDPOINT = "inproc://zeromq.zap.01"
MESH_DOMAIN = b"mesh"
DOOR_DOMAIN = b"door"

_VERSION = b"1.0"
_REQUEST_FRAMES = 7
_KEY_BYTES = 32


class Gate:
    """The allow-list: which CURVE key is which node, and which keys are banned."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeId] = {}
        self._keys: dict[NodeId, str] = {}
        self._banned_keys: dict[str, None] = {}
        self._banned_nodes: dict[NodeId, None] = {}

    def allow(self, node: NodeId, curve_key: bytes) -> bool:
        """Let a key in as a node, instead of the node's earlier key.

        Returns:
            False when the node or key is banned or the key belongs to another node.
        """
        key = curve_key.hex()
        if node in self._banned_nodes or key in self._banned_keys:
            return False
        if self._nodes.get(key, node) != node:
            return False
        self.remove(node)
        self._nodes[key] = node
        self._keys[node] = key
        return True

    def remove(self, node: NodeId) -> None:
        """Stop letting a node in."""
        key = self._keys.pop(node, None)
        if key is not None:
            del self._nodes[key]

    def ban(self, node: NodeId) -> None:
        """Remove a node and refuse it and its present key from now on."""
        key = self._keys.get(node)
        if key is not None:
            self._banned_keys[key] = None
        self._banned_nodes[node] = None
        self.remove(node)

    def node_of(self, user: str) -> NodeId | None:
        """Return the node whose key a connection was made with, if it may (still) speak."""
        return self._nodes.get(user)

    def is_banned(self, node: NodeId) -> bool:
        """Whether a node was expelled for ever."""
        return node in self._banned_nodes

    def is_banned_key(self, user: str) -> bool:
        """Whether a key was expelled for ever."""
        return user in self._banned_keys


class ZapHandler:
    """Answers libzmq's question, for every handshake, whether this key may connect.

    Args:
        socket: A REP socket bound to :data:`ENDPOINT`.
        gate: Who may enter the mesh.
        door_buckets: How often one address may come to the door.
        heard: Told of each admitted node that connects.
        crowd: Tells how many connections are open at the door.
        crowd_limit: Number of them beyond which newcomers must come back later.
        clock: For the buckets.
        drops: Counts refusals by reason.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        gate: Gate,
        door_buckets: Buckets[bytes],
        heard: Callable[[NodeId], None],
        crowd: Callable[[], int],
        crowd_limit: int,
        clock: Clock,
        drops: Counter[str],
    ) -> None:
        self.socket = socket
        self._gate = gate
        self._door_buckets = door_buckets
        self._heard = heard
        self._crowd = crowd
        self._crowd_limit = crowd_limit
        self._clock = clock
        self._drops = drops

    def drain(self, _arrivals: list[Arrival]) -> bool:
        """Answer the waiting requests; a readiness source."""
        for _ in range(FAIR_SHARE):
            try:
                request = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return False
            self.socket.send_multipart(self.answer(request), zmq.DONTWAIT)
        return True

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """Return the ZAP reply to one request."""
        request_id = request[1] if len(request) > 1 else b""
        status, text, user = self._judge(request)
        if status != b"200":
            self._drops[f"handshake.{text}"] += 1
        return [_VERSION, request_id, status, text.encode(), user.encode(), b""]

    def _judge(self, request: Sequence[bytes]) -> tuple[bytes, str, str]:
        if len(request) != _REQUEST_FRAMES or request[0] != _VERSION:
            return b"500", "malformed", ""
        _, _, domain, address, _, mechanism, key = request
        if mechanism != b"CURVE" or len(key) != _KEY_BYTES:
            return b"400", "not-curve", ""
        user = key.hex()
        judge = {MESH_DOMAIN: self._judge_mesh, DOOR_DOMAIN: self._judge_door}.get(domain)
        if judge is None:
            return b"500", "unknown-domain", ""
        status, text = (
            (b"400", "banned") if self._gate.is_banned_key(user) else judge(user, address)
        )
        return status, text, user if status == b"200" else ""

    def _judge_mesh(self, user: str, _address: bytes) -> tuple[bytes, str]:
        node = self._gate.node_of(user)
        if node is None:
            return b"400", "stranger"
        self._heard(node)
        return b"200", "ok"

    def _judge_door(self, _user: str, address: bytes) -> tuple[bytes, str]:
        # 300 is "temporary": the client may come back, which is what a crowd should do.
        if self._crowd() > self._crowd_limit:
            return b"300", "door-full"
        if not self._door_buckets.take(address, self._clock().mono_s):
            return b"300", "door-rate"
        return b"200", "ok"


def open_handler_socket(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """Return the socket of a context's handler; it must exist before any server socket."""
    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.bind(ENDPOINT)
    return socket


def require_handler(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    """Check that somebody answers ZAP requests in this context.

    Raises:
        InvariantBroken: Nobody does; a CURVE server would let every stranger in.
    """
    with context.socket(zmq.REP) as probe:
        probe.linger = 0
        try:
            probe.bind(ENDPOINT)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                return
            raise
    raise InvariantBroken("no ZAP handler answers: a CURVE server would let every stranger in")
