"""A berth: one runner as the agent sees it, from the order to fork it until it is reaped."""

import os
import signal
import socket
from collections import deque
from typing import Final

from qallow_agent.base.codec import Codec
from qallow_agent.base.ids import RunnerId
from qallow_agent.base.message import Message
from qallow_agent.jobs.local import RunnerBusy, RunnerExited, RunnerReady
from qallow_agent.runtime.orders import PACKET_BYTES
from qallow_agent.runtime.output import OutputLog
from qallow_agent.runtime.slate import Slate, make_slate

_MAX_UNSENT: Final = 1024
"""A runner that leaves so many messages unread hangs in a kernel that holds its threads."""

_PACKETS_A_TURN: Final = 64
"""So a chatty runner cannot keep the agent's loop from the others."""


class Berth:
    """The agent's end of one runner: its socket, slate and printed output.

    Args:
        runner: Its id.
        device: The device it works on.
        kind: That device's kind.
        codec: The runner codec.
        lines_per_s: Printed lines that go to the log each second.
    """

    def __init__(
        self, runner: RunnerId, device: str, kind: str, codec: Codec, lines_per_s: int
    ) -> None:
        self.runner = runner
        self.device = device
        self.kind = kind
        self.pid: int | None = None
        self.ready = False
        self.deadline_s: float | None = None
        self.overdue = ""
        self.killed = ""
        self.leaving = False
        self.settling = False
        """Its lease has ended: it is looked at until it rests."""
        self.open = True
        self._codec = codec
        self._unsent: deque[bytes] = deque()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        slate = make_slate()
        self._slate = Slate(slate)
        read_end, write_end = os.pipe()
        self.output = OutputLog(read_end, str(runner), lines_per_s)
        self._luggage: tuple[int, ...] = (theirs.detach(), slate, write_end)

    def luggage(self) -> tuple[int, ...]:
        """Return the descriptors the runner gets: socket, slate, output pipe."""
        return self._luggage

    def drop_luggage(self) -> None:
        """Close our copies of the runner's descriptors, so that its death closes the pipes."""
        for descriptor in self._luggage:
            os.close(descriptor)
        self._luggage = ()

    def tell(self, message: Message) -> bool:
        """Send a message, or keep it until the runner reads; False when it reads no more."""
        self._unsent.append(self._codec.encode(message))
        return self.flush()

    def flush(self) -> bool:
        """Send what waits; False when the runner has not read for far too long."""
        while self._unsent and self.open:
            try:
                self.socket.send(self._unsent[0])
            except BlockingIOError:
                return len(self._unsent) <= _MAX_UNSENT
            except OSError:  # it is dying; the nursery will say how
                break
            self._unsent.popleft()
        return True

    @property
    def waits(self) -> bool:
        """Whether messages wait for the runner to read."""
        return bool(self._unsent) and self.open

    def hear(self) -> list[Message]:
        """Return what the runner said since; ``open`` turns False at its end.

        Raises:
            WireError: It said something no runner says.
        """
        messages: list[Message] = []
        while self.open and len(messages) < _PACKETS_A_TURN:
            try:
                packet = self.socket.recv(PACKET_BYTES)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                self.open = False
                break
            message = self._codec.decode(packet)
            if isinstance(message, RunnerReady):
                self.ready = True
                if not (self.leaving or self.killed):
                    self.deadline_s = None
            messages.append(message)
        return messages

    def hang_up(self) -> None:
        """Ask the runner to finish its task and end: it sees its pipe close."""
        self.leaving = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # it went first
            self.open = False

    def busy(self, now_s: float) -> RunnerBusy | None:
        """Return which task it runs and since when; None when it runs none."""
        running = self._slate.read()
        if running is None or running.canary:
            return None
        elapsed_s = max(0.0, now_s - running.since_s)
        return RunnerBusy(running.lease, running.task, running.attempt, elapsed_s)

    def canary_s(self, now_s: float) -> float:
        """Return for how long it has been running a canary; 0 when it runs none."""
        running = self._slate.read()
        return now_s - running.since_s if running is not None and running.canary else 0.0

    def obituary(self, end: str) -> RunnerExited:
        """Return how it ended and during which task."""
        running = self._slate.read()
        if running is None:
            return RunnerExited(end)
        if running.canary:
            return RunnerExited(f"{end} during the canary of {running.canary}")
        return RunnerExited(
            f"{end} while running task {running.task}",
            running.lease,
            running.task,
            running.attempt,
        )

    def close(self) -> None:
        """Close our ends."""
        self.open = False
        self.drop_luggage()
        self.socket.close()
        self.output.close()
        self._slate.close()


def tell_end(status: int, killed: str) -> str:
    """Return in words how a process ended.

    Args:
        status: Its exit status, or minus the signal that killed it.
        killed: Why we killed it, if we did.
    """
    if status < 0 and killed:
        return f"killed: {killed}"
    if status == -signal.SIGXCPU:
        return "killed by SIGXCPU: it used up its CPU seconds"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:  # a real-time signal
            name = f"signal {-status}"
        return f"killed by {name}"
    return "stopped" if status == 0 else f"exited with status {status}"
