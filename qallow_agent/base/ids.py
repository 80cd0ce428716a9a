"""Identities: short printable names derived from keys or drawn from injected entropy."""

import base64
import hashlib
from typing import NewType, Protocol

NodeId = NewType("NodeId", str)
"""26 base32 characters: the first 130 bits of SHA-256 of the node's Ed25519 public key."""

MeshId = NewType("MeshId", str)
"""Like a node id, of the mesh's Ed25519 public key."""

JobId = NewType("JobId", str)
LeaseId = NewType("LeaseId", str)
RunnerId = NewType("RunnerId", str)
Address = NewType("Address", str)
"""``host:port`` or ``[v6]:port``."""

Sender = str
"""Where a message came from: a node id (authenticated peer), or a reserved ``@...`` name."""

ID_LENGTH = 26

STORE: Sender = "@store"
SENSORS: Sender = "@sensors"
TRANSPORT: Sender = "@transport"
OPERATOR: Sender = "@operator"


class Entropy(Protocol):
    """The slice of :class:`random.Random` that machines may draw from."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` random bits."""
        ...

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def randrange(self, start: int, /) -> int:
        """Return an int in [0, start)."""
        ...


def key_id(public_key: bytes) -> str:
    """Return the identity of a 32-byte Ed25519 public key: 26 lower-case base32 characters."""
    digest = hashlib.sha256(public_key).digest()
    return base64.b32encode(digest).decode().lower()[:ID_LENGTH]


def draw_id(prefix: str, rng: Entropy) -> str:
    """Return a fresh id ``prefix-`` plus 80 bits of base32 from the injected entropy."""
    return f"{prefix}-{base64.b32encode(rng.getrandbits(80).to_bytes(10)).decode().lower()}"


def show_id(identity: str) -> str:
    """Return the first twelve characters of an id in groups of four, as people compare them."""
    head = identity[:12]
    return " ".join(head[i : i + 4] for i in range(0, len(head), 4))


def control(connection: int, request: int) -> Sender:
    """Return the reserved sender of one request on one control connection."""
    return f"@control/{connection}/{request}"


def door(stranger: str) -> Sender:
    """Return the reserved sender of one knock at the door (routing id in hex)."""
    return f"@door/{stranger}"


def runner(runner_id: RunnerId) -> Sender:
    """Return the reserved sender of one runner."""
    return f"@runner/{runner_id}"


def is_local(sender: Sender) -> bool:
    """Return whether a sender is a reserved local one, not an authenticated peer."""
    return sender.startswith("@")
