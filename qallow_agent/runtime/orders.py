"""What the yard and its nursery tell each other: one packet a message on a Unix socket pair.

Packets (SOCK_SEQPACKET) keep message borders, so neither side ever blocks on half a message.
"""

from typing import Final

from qallow_agent.base.codec import Codec
from qallow_agent.base.ids import RunnerId
from qallow_agent.base.message import Message, kinds
from qallow_agent.jobs.local import RUNNER_KINDS
from qallow_agent.kernels.settings import KernelSettings
from qallow_agent.runtime.fences import Fence, Ground
from qallow_agent.runtime.settings import RunnerSettings

PACKET_BYTES: Final = 64 << 10
"""Orders are a few hundred bytes; only a canary's explanation can grow, and it is cut."""


class Preload(Message, tag="nursery.preload"):
    """Put up the fences, then import the kernels that these settings offer."""

    kernels: KernelSettings
    settings: RunnerSettings
    ground: Ground


class Preloaded(Message, tag="nursery.preloaded"):
    """Kernels are imported and compiled; ``problems`` names the plug-ins that were skipped."""

    problems: tuple[str, ...] = ()
    fences: tuple[Fence, ...] = ()


class Fork(Message, tag="nursery.fork"):
    """Fork a runner. Its agent socket, slate and output pipe travel beside, in this order.

    ``plugin`` is what brings the device along, as ``module:ATTRIBUTE``; empty for others.
    """

    runner: RunnerId
    device: str
    kind: str
    hosts: tuple[str, ...]
    settings: RunnerSettings
    plugin: str = ""


class Kill(Message, tag="nursery.kill"):
    """Kill a runner and everything it started, at once."""

    runner: RunnerId


class Forked(Message, tag="nursery.forked"):
    """A runner process exists."""

    runner: RunnerId
    pid: int


class Reaped(Message, tag="nursery.reaped"):
    """A runner process is gone: exit status, or minus the signal that killed it."""

    runner: RunnerId
    status: int


def order_codec() -> Codec:
    """Return the codec between yard and nursery."""
    return Codec(kinds((Preload, Preloaded, Fork, Kill, Forked, Reaped)), PACKET_BYTES)


def runner_codec() -> Codec:
    """Return the codec between yard and runner."""
    return Codec(kinds(RUNNER_KINDS), PACKET_BYTES)
