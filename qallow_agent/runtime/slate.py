"""The slate: shared memory on which a runner notes its task, readable after any death.

A runner writes it for every task without a system call; the agent reads it to see what runs too
long, and after a crash to name the task that caused it.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Final

from qallow_agent.base.ids import LeaseId

SLATE_BYTES: Final = 256
MAX_LEASE_BYTES: Final = 190

# The running flag comes last: a reader that catches a half-written task sees the old flag, never a
# running task with the start time of an older one.
_TASK: Final = struct.Struct("<dqqQ")
_LEASE: Final = struct.Struct(f"<H{MAX_LEASE_BYTES}s")
_FLAG: Final = struct.Struct("<Q")
_FLAG_AT: Final = _TASK.size - _FLAG.size
_LEASE_AT: Final = _TASK.size
_READS: Final = 5


_CANARY: Final = "@canary/"


def canary_lease(kernel: str) -> LeaseId:
    """Return what stands for a lease on the slate while a kernel's canary runs."""
    return LeaseId((_CANARY + kernel)[: MAX_LEASE_BYTES // 4])


@dataclass(frozen=True, slots=True)
class Running:
    """What a runner was running: since which second of the machine's monotonic clock."""

    lease: LeaseId
    task: int
    attempt: int
    since_s: float

    @property
    def canary(self) -> str:
        """The kernel whose canary this is; empty for a task."""
        return self.lease.removeprefix(_CANARY) if self.lease.startswith(_CANARY) else ""


class Slate:
    """One runner's slate.

    Args:
        descriptor: A memory file from :func:`make_slate`; stays the caller's to close.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SLATE_BYTES)

    def lease(self, lease: LeaseId) -> None:
        """Note under which lease the next tasks run; no task may be running."""
        _LEASE.pack_into(self._memory, _LEASE_AT, len(lease), lease.encode())

    def begin(self, task: int, attempt: int, now_s: float) -> None:
        """Note that a task runs from now on.

        Raises:
            struct.error: A number does not fit 64 bits.
        """
        _TASK.pack_into(self._memory, 0, now_s, task, attempt, 1)

    def end(self) -> None:
        """Note that nothing runs."""
        _FLAG.pack_into(self._memory, _FLAG_AT, 0)

    def read(self) -> Running | None:
        """Return what runs, or ran when the writer died; None when nothing does."""
        before = bytes(self._memory[:SLATE_BYTES])
        for _ in range(_READS):
            after = bytes(self._memory[:SLATE_BYTES])
            if after == before:
                break
            before = after
        since_s, task, attempt, running = _TASK.unpack_from(before)
        if running != 1:
            return None
        length, name = _LEASE.unpack_from(before, _LEASE_AT)
        lease = name[: min(length, MAX_LEASE_BYTES)].decode(errors="replace")
        return Running(LeaseId(lease), task, attempt, since_s)

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()


def make_slate() -> int:
    """Return the descriptor of a fresh, empty slate."""
    descriptor = os.memfd_create("qallow-slate")
    os.ftruncate(descriptor, SLATE_BYTES)
    return descriptor
