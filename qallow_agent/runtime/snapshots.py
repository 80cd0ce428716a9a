"""The way of a running task's state to its submitter: at once, or not at all."""

from typing import Final

import zmq

from qallow_agent.base.ids import LeaseId
from qallow_agent.jobs.manifest import join_small, layout
from qallow_agent.jobs.parcels import (
    CHUNK_BYTES,
    SMALL_BYTES,
    STATE,
    ArrayHead,
    Chunk,
    Snapshot,
    TaskHead,
    chunk_bytes,
    pack,
)
from qallow_agent.runtime.multipart import Sendable, send

_NAME: Final = b"state"
"""Begins the names of these holds: a result's are counted too."""


def send_snapshot(
    router: zmq.Socket[bytes],
    route: bytes,
    lease: LeaseId,
    task: TaskHead,
    blob: bytes,
    number: int,
) -> None:
    """Send a state without waiting: computing goes on, whether it is taken or not.

    Args:
        router: The runner's socket.
        route: The submitter.
        lease: Under which the task runs.
        task: Whose state it is.
        blob: The state.
        number: Which one it is on this socket.

    Raises:
        zmq.Again: The submitter is behind with reading. What was sent of the state is given up
            there after a while.
        zmq.ZMQError: It is gone.
    """
    head = ArrayHead(STATE, "u1", (len(blob),))
    frames: tuple[Sendable, ...]
    if len(blob) > CHUNK_BYTES:
        name = _NAME + number.to_bytes(8, "little")
        data = memoryview(blob)
        for offset in range(0, len(blob), CHUNK_BYTES):
            chunk = pack(Chunk(lease, name, offset, len(blob)))
            piece = data[offset : offset + chunk_bytes(offset, len(blob))]
            send(router, route, chunk, (piece,), zmq.NOBLOCK)
        head = ArrayHead(STATE, "u1", (len(blob),), name)
        frames = ()
    elif len(blob) < SMALL_BYTES:
        frames = (join_small(layout((head,)), [blob]),)
    else:
        frames = (memoryview(blob),)
    snapshot = Snapshot(lease, task.number, task.attempt, head)
    send(router, route, pack(snapshot), frames, zmq.NOBLOCK)
