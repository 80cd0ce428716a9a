"""Peer-to-peer mesh agent: find each other, trust each other, run numeric kernels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qallow_agent.base.plugin import DevicePlugin, PluginDevice
    from qallow_agent.client.aio import AsyncMesh, aconnect
    from qallow_agent.client.executor import Executor
    from qallow_agent.client.files import read_columns
    from qallow_agent.client.futures import JobFuture
    from qallow_agent.client.points import Columns
    from qallow_agent.client.receipts import JobReceipt
    from qallow_agent.client.results import Result
    from qallow_agent.client.session import Mesh, connect
    from qallow_agent.jobs.messages import JobOptions, JobProgress

__all__ = [
    "AsyncMesh",
    "Columns",
    "DevicePlugin",
    "Executor",
    "JobFuture",
    "JobOptions",
    "JobProgress",
    "JobReceipt",
    "Mesh",
    "PluginDevice",
    "Result",
    "__version__",
    "aconnect",
    "connect",
    "read_columns",
]

_DOORS = {
    "AsyncMesh": "qallow_agent.client.aio",
    "Columns": "qallow_agent.client.points",
    "DevicePlugin": "qallow_agent.base.plugin",
    "Executor": "qallow_agent.client.executor",
    "JobFuture": "qallow_agent.client.futures",
    "JobOptions": "qallow_agent.jobs.messages",
    "JobProgress": "qallow_agent.jobs.messages",
    "JobReceipt": "qallow_agent.client.receipts",
    "Mesh": "qallow_agent.client.session",
    "PluginDevice": "qallow_agent.base.plugin",
    "Result": "qallow_agent.client.results",
    "aconnect": "qallow_agent.client.aio",
    "connect": "qallow_agent.client.session",
    "read_columns": "qallow_agent.client.files",
}


def __getattr__(name: str) -> Any:
    """Import the client on first use, so that ``import qallow_agent`` stays cheap."""
    if name in _DOORS:
        return getattr(import_module(_DOORS[name]), name)
    raise AttributeError(f"module 'qallow_agent' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOORS})
