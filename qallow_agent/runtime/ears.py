"""Which of many descriptors have something to say, behind one that a poller can watch."""

import select

from qallow_agent.base.machine import soonest
from qallow_agent.runtime.output import OutputLog


class Ears:
    """An epoll set that survives closed descriptors and stops hearing a flood of output."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._muted: list[OutputLog] = []

    def fileno(self) -> int:
        """Return the descriptor that turns readable when any other is."""
        return self._epoll.fileno()

    def listen(self, descriptor: int) -> None:
        """Watch a descriptor."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def deafen(self, descriptor: int) -> None:
        """Watch a descriptor no more; safe to repeat."""
        try:
            self._epoll.unregister(descriptor)
        except (FileNotFoundError, ValueError):  # done before, or closed
            return

    def ready(self, now_s: float) -> frozenset[int]:
        """Return the descriptors that have something; floods are heard again when due."""
        for output in list(self._muted):
            resumes_s = output.resumes_s()
            if resumes_s is None or now_s >= resumes_s:
                self._muted.remove(output)
                self.listen(output.descriptor)
        return frozenset(descriptor for descriptor, _ in self._epoll.poll(0))

    def read(self, output: OutputLog, now_s: float) -> None:
        """Log what a process printed; at its end or in a flood stop watching the pipe."""
        goes_on = output.read(now_s)
        if not goes_on or output.resumes_s() is not None:
            self.deafen(output.descriptor)
        if goes_on and output.resumes_s() is not None:
            self._muted.append(output)

    def finish(self, output: OutputLog, now_s: float) -> None:
        """Log the last that a process printed; its pipe is ours to close afterwards."""
        self.deafen(output.descriptor)
        self._muted = [other for other in self._muted if other is not output]
        output.read(now_s)

    def next_deadline(self) -> float | None:
        """Return when a muted output is due again."""
        return soonest(*(output.resumes_s() for output in self._muted))

    def close(self) -> None:
        """Close the set."""
        self._epoll.close()
