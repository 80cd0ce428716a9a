"""A bell that wakes a sleeping thread, rung only when it sleeps."""

import contextlib
import socket


class Bell:
    """One thread sleeps and hears, others ring; any number of rings before it wakes are one."""

    def __init__(self) -> None:
        self._ear, self._rope = socket.socketpair()
        self._ear.setblocking(False)
        self._rope.setblocking(False)
        self.asleep = False
        """Set by the sleeper before its last look at what there is to do."""

    def fileno(self) -> int:
        """Return the descriptor that turns readable."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Wake the sleeper; costs nothing when it is awake."""
        if self.asleep:
            self.asleep = False
            # Full means that it rings already; closed, that nobody sleeps any more.
            with contextlib.suppress(OSError):
                self._rope.send(b"!")

    def hear(self) -> None:
        """Take in every ring so far."""
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4_096)

    def close(self) -> None:
        """Let go of it; ringing stays harmless."""
        self._ear.close()
        self._rope.close()
