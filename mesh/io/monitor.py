"""What a socket monitor says, without pyzmq's own helper, which brings asyncio: 10 MiB.

Source: zmq_socket_monitor(3): a frame of event number (16 bit) and value (32 bit) in native order,
then a frame with the endpoint.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

_EVENT = struct.Struct("=hI")


class MonitorEvent(NamedTuple):
    """One event of a monitored socket."""

    event: int
    value: int
    endpoint: bytes


def read_event(frames: Sequence[bytes]) -> MonitorEvent:
    """Return the event in a monitor's message; libzmq itself wrote it, so it is well-formed."""
    event, value = _EVENT.unpack_from(frames[0])
    return MonitorEvent(event, value, frames[1])
