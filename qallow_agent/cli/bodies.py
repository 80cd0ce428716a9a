"""What the bodies of leaves say: one decoder a kind, imported when a leaf of it is shown."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from qallow_agent.base.errors import WireError
from qallow_agent.ledger.leaf import Leaf, LeafKind

DECODERS: dict[LeafKind, str] = {}
"""Kind -> ``module:function`` that turns a body into a JSON-shaped mapping.

The function may raise WireError; a kind without one is shown in hexadecimal.
"""

_SHOWN_BYTES = 64


def decoded(leaf: Leaf) -> Mapping[str, Any]:
    """Return what a leaf's body says, JSON-shaped."""
    known = DECODERS.get(leaf.kind)
    if known is not None:
        module, _, name = known.partition(":")
        try:
            found: Mapping[str, Any] = getattr(import_module(module), name)(leaf.body)
        except WireError as error:
            return {"error": error.message, "hex": leaf.body[:_SHOWN_BYTES].hex()}
        return found
    more = len(leaf.body) > _SHOWN_BYTES
    return {"hex": leaf.body[:_SHOWN_BYTES].hex() + ("..." if more else "")}
