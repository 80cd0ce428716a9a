"""Raw pyzmq: what the library below us does when a program does nothing but echo.

A REQ socket against a ROUTER for round trips; for throughput a DEALER that keeps 1,000 messages in
flight to two echoing processes. The argument ``curve`` encrypts all of it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import zmq
from nextdoor import THERE, prefix

from peers.protocol import Values, idle, middle_s, rate, round_trips, serve

Socket = zmq.Socket[bytes]

WORKERS = 2
WINDOW = 1_000
TASK = b"\x00" * 32
BATCH = 1_000
POINT_BYTES = 8
ARRAY_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
LARGE_BYTES = 64 << 10
WAIT_MS = 10_000


class RawZmq:
    """Two echoing processes and sockets to them.

    Args:
        curve: Whether everything is encrypted.
    """

    def __init__(self, *, curve: bool) -> None:
        self._curve = curve
        self._workers: list[subprocess.Popen[str]] = []
        self._addresses: list[str] = []
        self._context: zmq.Context[Socket] = zmq.Context()
        self._server_key = self._server_secret = b""
        self._keys = (b"", b"")

    def start(self, seconds: float) -> Values:
        """Start the workers and wait until the first has answered."""
        del seconds
        began_s = time.perf_counter()
        if self._curve:
            self._keys = zmq.curve_keypair()
            self._server_key, server_secret = zmq.curve_keypair()
        else:
            server_secret = b""
        self._server_secret = server_secret
        self._addresses = [self._launch("127.0.0.1") for _ in range(WORKERS)]
        with self._socket(zmq.REQ, self._addresses[:1]) as socket:
            socket.send(TASK)
            socket.recv()
        ready_s = time.perf_counter() - began_s
        return {"ready": ready_s, "first": ready_s}

    def stop(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()
            worker.wait()

    def trips(self, seconds: float) -> Values:
        """Measure one message at a time."""
        with self._socket(zmq.REQ, self._addresses[:1]) as socket:

            def one() -> None:
                socket.send(TASK)
                socket.recv()

            return round_trips(one, seconds)

    def submit(self, seconds: float) -> Values:
        """Measure a message a task."""
        with self._socket(zmq.DEALER, self._addresses) as socket:
            return {"submit": rate(lambda: _flood(socket, TASK, 20_000, WINDOW), seconds)}

    def batch(self, seconds: float) -> Values:
        """Measure a thousand tasks a message."""
        frame = b"\x00" * (BATCH * POINT_BYTES)
        with self._socket(zmq.DEALER, self._addresses) as socket:
            batches = rate(lambda: _flood(socket, frame, 1_000, 100), seconds)
        return {"batch": batches * BATCH}

    def array(self, seconds: float) -> Values:
        """Measure a large array, in one frame and in chunks."""
        whole_s, chunked_s = self._arrays(self._addresses[:1], seconds)
        return {"array": whole_s * 1e3, "array_chunks": chunked_s * 1e3}

    def across(self, seconds: float) -> Values:
        """Measure the same to a box next door."""
        if not prefix():
            return {}
        whole_s, chunked_s = self._arrays([self._launch(THERE, prefix())], seconds)
        return {"across": whole_s * 1e3, "across_chunks": chunked_s * 1e3}

    def idle(self, seconds: float) -> Values:
        """Measure the echoing processes at rest."""
        pids = [worker.pid for worker in self._workers]
        return idle(seconds, pids, [pids])

    def _launch(self, host: str, before: tuple[str, ...] = ()) -> str:
        """Start a worker and return its address."""
        worker = subprocess.Popen(
            [*before, sys.executable, "-m", "peers.raw_zmq", "echo", host,
             self._server_secret.decode()],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._workers.append(worker)
        assert worker.stdout is not None
        return f"tcp://{host}:{worker.stdout.readline().strip()}"

    def _arrays(self, addresses: list[str], seconds: float) -> tuple[float, float]:
        """Return the seconds of a large array there and back, in one frame and in chunks."""
        array = np.arange(ARRAY_BYTES // 4, dtype="f4")
        data = array.data.cast("B")
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        with self._socket(zmq.DEALER, addresses) as socket:
            whole_s = middle_s(lambda: _exchange(socket, [data]), seconds / 2)
            chunked_s = middle_s(lambda: _exchange(socket, chunks), seconds / 2)
        return whole_s, chunked_s

    @contextmanager
    def _socket(self, kind: int, addresses: list[str]) -> Iterator[Socket]:
        socket = self._context.socket(kind)
        with closing(socket):
            socket.linger = 0
            socket.sndhwm = socket.rcvhwm = 0
            socket.rcvtimeo = WAIT_MS
            if self._curve:
                socket.curve_serverkey = self._server_key
                socket.curve_publickey, socket.curve_secretkey = self._keys
            for address in addresses:
                socket.connect(address)
            yield socket


def _flood(socket: Socket, message: bytes, count: int, window: int) -> int:
    """Send messages, ``window`` of them in flight; return how many came back."""
    sent = answered = 0
    while answered < count:
        while sent < count and sent - answered < window:
            socket.send(message)
            sent += 1
        socket.recv()
        answered += 1
    return answered


def _exchange(socket: Socket, messages: list[memoryview]) -> None:
    for message in messages:
        socket.send(message, copy=False)
    size = sum(len(socket.recv(copy=False).buffer) for _ in messages)
    assert size == ARRAY_BYTES


def echo(host: str, server_secret: str) -> None:
    """Be a worker: send everything back, and share memory with ZeroMQ as soon as it pays."""
    context: zmq.Context[Socket] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.sndhwm = router.rcvhwm = 0
    if server_secret:
        router.curve_server = True
        router.curve_secretkey = server_secret.encode()
    port = router.bind_to_random_port(f"tcp://{host}")
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    copy = True
    while True:
        frames = router.recv_multipart(0, copy)
        router.send_multipart(frames, copy=copy)
        copy = len(frames[-1]) < LARGE_BYTES


def main() -> None:
    """Drive the peer, or be a worker."""
    if sys.argv[1:2] == ["echo"]:
        echo(*sys.argv[2:4])
        return
    serve(RawZmq(curve="curve" in sys.argv[1:]))


if __name__ == "__main__":
    main()
