"""The gate of a runner: who may speak to its socket, on a thread that no kernel delays.

The data loop runs kernels and can be away for minutes. So a second thread answers ZAP requests
(or new submitters would time out in the handshake) and hears the agent: leases allowed, extended
and forbidden, canaries wanted, and the end of the pipe, which means: finish and go.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import zmq

from qallow_agent.base.codec import Codec
from qallow_agent.base.errors import WireError
from qallow_agent.base.ids import LeaseId
from qallow_agent.base.message import Message
from qallow_agent.jobs.local import Allow, Forbid, RunCanary
from qallow_agent.runtime.orders import PACKET_BYTES

ORDERS: Final = "inproc://orders"
"""Where the data loop hears the gate, on the very socket on which it hears submitters."""

ZAP: Final = "inproc://zeromq.zap.01"
_ZAP_VERSION: Final = b"1.0"
_ZAP_FRAMES: Final = 7
_CURVE: Final = b"CURVE"
"""Source: ZeroMQ RFC 27 (ZAP)."""

MAX_LEASES: Final = 256


@dataclass(slots=True)
class Terms:
    """What one lease allows. The gate changes ``expires_s`` and ``open``, the loop the rest.

    Args:
        lease: Its id.
        user: The submitter's CURVE key in hex, as ZAP reports it with each message.
        kernel: The only kernel it covers.
        credits: Tasks that may be here at once.
        expires_s: Monotonic second of its end.
        open: False once forbidden.
        in_flight: Tasks received and not yet answered.
    """

    lease: LeaseId
    user: str
    kernel: str
    credits: int
    expires_s: float
    open: bool = True
    in_flight: int = 0


class Gate:
    """Keeps the leases and lets their submitters in.

    Args:
        context: The runner's ZeroMQ context.
        agent: The runner's end of the pipe to its agent.
        codec: The runner codec.
        abandon: Ends the process when the data loop does not stop by itself in time.
        stop_s: How long it may take.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        agent: socket.socket,
        codec: Codec,
        *,
        abandon: Callable[[], None],
        stop_s: float,
    ) -> None:
        self.leases: dict[LeaseId, Terms] = {}
        self.stopping = False
        self.stopped = threading.Event()
        self._agent = agent
        self._codec = codec
        self._abandon = abandon
        self._stop_s = stop_s
        self._zap = context.socket(zmq.REP)
        self._loop = context.socket(zmq.DEALER)

    def open(self) -> None:
        """Take over authentication; call before any socket is bound, or strangers slip in."""
        self._zap.linger = 0
        self._loop.linger = 0
        self._zap.bind(ZAP)

    def run(self) -> None:
        """Serve until the agent's pipe closes; then see to it that the process ends."""
        self._loop.connect(ORDERS)
        poller = zmq.Poller()
        poller.register(self._zap, zmq.POLLIN)
        poller.register(self._agent, zmq.POLLIN)
        while not self.stopping:
            ready = dict(poller.poll())
            # First the agent: it allows a lease before it tells anybody of it, so a submitter
            # that knocks with a granted lease is never turned away by an unread message.
            self._hear_agent()
            if self._zap in ready:
                self._answer(self._zap.recv_multipart())
        with suppress(zmq.Again):  # the loop has closed its socket: it ended by itself
            self._loop.send(b"stop", zmq.DONTWAIT)
        if not self.stopped.wait(self._stop_s):
            self._abandon()
        self._zap.close()
        self._loop.close()

    def report(self, message: Message) -> bool:
        """Tell the agent something; False when its pipe is full or closed."""
        try:
            self._agent.send(self._codec.encode(message), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def _hear_agent(self) -> None:
        while True:
            try:
                packet = self._agent.recv(PACKET_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self.stopping = True
                return
            try:
                self._obey(self._codec.decode(packet))
            except WireError as error:  # our own agent, of another release
                print(f"the agent says what a runner does not know: {error.message}")  # noqa: T201

    def _obey(self, message: Message) -> None:
        if isinstance(message, Allow):
            self._allow(message)
        elif isinstance(message, Forbid):
            terms = self.leases.pop(message.lease, None)
            if terms is not None:
                terms.open = False
        elif isinstance(message, RunCanary):
            self._loop.send(message.kernel.encode())

    def _allow(self, message: Allow) -> None:
        now_s = time.monotonic()
        expires_s = now_s + message.ttl_s
        known = self.leases.get(message.lease)
        if known is not None:
            known.expires_s = expires_s
            known.credits = message.credits
            return
        for lease in [item.lease for item in self.leases.values() if item.expires_s < now_s]:
            del self.leases[lease]
        if len(self.leases) < MAX_LEASES:
            user = message.submitter_key.hex()
            self.leases[message.lease] = Terms(
                message.lease, user, message.kernel, message.credits, expires_s
            )

    def _answer(self, frames: list[bytes]) -> None:
        request = frames[1] if len(frames) > 1 else b""
        key = frames[6] if len(frames) == _ZAP_FRAMES and frames[5] == _CURVE else b""
        user = key.hex()
        now_s = time.monotonic()
        known = any(
            terms.user == user and terms.expires_s >= now_s for terms in self.leases.values()
        )
        if known and frames[0] == _ZAP_VERSION:
            verdict = [b"200", b"OK", user.encode(), b""]
        else:
            verdict = [b"400", b"no lease for this key", b"", b""]
        self._zap.send_multipart([_ZAP_VERSION, request, *verdict])
