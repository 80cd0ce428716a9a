"""Peer-to-peer mesh agent: find each other, trust each other, run numeric kernels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qallow_agent.client.executor import Executor
    from qallow_agent.client.session import Mesh, aconnect, connect

__all__ = ["Executor", "Mesh", "__version__", "aconnect", "connect"]

_DOORS = {
    "Executor": "qallow_agent.client.executor",
    "Mesh": "qallow_agent.client.session",
    "aconnect": "qallow_agent.client.session",
    "connect": "qallow_agent.client.session",
}


def __getattr__(name: str) -> Any:
    """Import the client on first use, so that ``import qallow_agent`` stays cheap."""
    if name in _DOORS:
        return getattr(import_module(_DOORS[name]), name)
    raise AttributeError(f"module 'qallow_agent' has no attribute {name!r}")
