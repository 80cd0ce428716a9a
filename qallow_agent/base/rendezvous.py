"""Rendezvous hashing: everybody who knows the same nodes picks the same few for the same thing."""

import hashlib
from collections.abc import Iterable

from qallow_agent.base.ids import NodeId


def rendezvous(key: str, nodes: Iterable[NodeId], count: int) -> tuple[NodeId, ...]:
    """Return up to ``count`` nodes for a key, the same ones wherever it is asked.

    When a node comes or goes, only what it would be or was picked for changes.

    Args:
        key: For what; a job's id.
        nodes: Who may be picked.
        count: How many.

    Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """

    def weight(node: NodeId) -> bytes:
        return hashlib.sha256(f"{key}\n{node}".encode()).digest()

    return tuple(sorted(set(nodes), key=weight, reverse=True)[:count])
