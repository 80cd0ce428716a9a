"""The stowage of a runner: what each submitter has placed here beside its tasks.

Holds belong to one submitter's key. Nobody learns, or uses, what another one placed. Some seconds
after its last lease, all of it goes: a submitter that lost its connection may come back meanwhile,
and need not send again what arrived.
"""

import mmap
import os
from collections.abc import Container
from typing import Final

from qallow_agent.base.errors import Malformed, WireError
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.holds import Holds
from qallow_agent.jobs.parcels import ArrayHead, Chunk, Hatch, Missing, Neighbour, Room, announced
from qallow_agent.runtime.hatch import Doorstep
from qallow_agent.runtime.memory import allocate, map_segment

_CHUNKED_SHARE: Final = 3
_SHARED_SHARE: Final = 2
"""What one submitter may place here, as a part of the runner's allowance: its arrays are held once
and its outputs once more, and a kernel needs memory too."""

_MOST_SEGMENTS: Final = 256
GRACE_S: Final = 10.0


class _Cabin:
    """One submitter's part."""

    def __init__(self, allowance_bytes: int) -> None:
        self.holds = Holds(allocate, allowance_bytes // _CHUNKED_SHARE)
        self.segments: dict[bytes, mmap.mmap] = {}
        self.room_bytes = allowance_bytes // _SHARED_SHARE
        self.until_s: Seconds | None = None
        """When it goes, while its submitter has no lease."""


class Stowage:
    """All submitters' holds.

    Args:
        runner_key: The runner's public CURVE key.
        allowance_bytes: Memory the runner may take.
    """

    def __init__(self, runner_key: bytes, allowance_bytes: int) -> None:
        self._doorstep = Doorstep(runner_key)
        self._allowance_bytes = allowance_bytes
        self._cabins: dict[str, _Cabin] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody has placed anything."""
        return not self._cabins

    def put(self, user: str, chunk: Chunk, data: memoryview, now: Seconds) -> None:
        """Take in a piece of an array.

        Raises:
            WireError: It is unsound, or there is no room for it.
        """
        self._cabin(user).holds.put(chunk, data, now)

    def find(self, user: str, head: ArrayHead, now: Seconds) -> memoryview | None:
        """Return the memory in which a head says that its array lies; None when it is not here.

        Raises:
            WireError: The place lies outside its hold.
        """
        return self._part(user, head.hold, head.offset, announced(head), now)

    def room(self, user: str, room: Room) -> memoryview | None:
        """Return shared memory for outputs; None when it is not here."""
        try:
            part = self._part(user, room.hold, room.offset, room.size_bytes, 0.0)
        except WireError:
            return None
        return None if part is None or part.readonly else part

    def shared(self, user: str, name: bytes) -> bool:
        """Return whether a hold is memory that the submitter can still write to."""
        cabin = self._cabins.get(user)
        return cabin is not None and name in cabin.segments

    def used(self, user: str, name: bytes) -> None:
        """Note that a task took a hold."""
        self._cabin(user).holds.used(name)

    def refused(self, user: str, name: bytes) -> str:
        """Return why there was no room for a hold; empty when that is not so."""
        return self._cabin(user).holds.refused(name)

    def missing(self, user: str, head: ArrayHead) -> Missing:
        """Return which pieces are not here."""
        return self._cabin(user).holds.missing(head.hold, announced(head))

    def forget(self, user: str, names: tuple[bytes, ...]) -> None:
        """Let go of some holds."""
        cabin = self._cabin(user)
        for name in names:
            cabin.holds.forget(name)
            segment = cabin.segments.pop(name, None)
            if segment is not None:
                cabin.room_bytes += len(segment)

    def invite(self, user: str, neighbour: Neighbour) -> Hatch:
        """Return where a submitter may hand memory over."""
        return self._doorstep.invite(
            user.encode(), neighbour.lease, neighbour.machine, neighbour.uid
        )

    def admit(self, user: str) -> bool:
        """Let in a submitter that says it stands at the hatch."""
        return self._doorstep.admit(user.encode())

    def keep(self, users: Container[str], now: Seconds) -> None:
        """Let go, at once or after a moment, of what others than these placed."""
        for user, cabin in list(self._cabins.items()):
            if user in users:
                cabin.until_s = None
                cabin.holds.expire(now)
            elif cabin.until_s is None:
                cabin.until_s = now + GRACE_S
                cabin.segments.clear()
                cabin.room_bytes = self._allowance_bytes // _SHARED_SHARE
                self._doorstep.dismiss(user.encode())
            elif cabin.until_s <= now:
                del self._cabins[user]

    def close(self) -> None:
        """Close the hatches."""
        self._doorstep.close()

    def _cabin(self, user: str) -> _Cabin:
        cabin = self._cabins.get(user)
        if cabin is None:
            cabin = self._cabins[user] = _Cabin(self._allowance_bytes)
        return cabin

    def _part(
        self, user: str, name: bytes, offset: int, size_bytes: int, now: Seconds
    ) -> memoryview | None:
        cabin = self._cabin(user)
        memory: mmap.mmap | memoryview | None = cabin.segments.get(name)
        if memory is None:
            memory = cabin.holds.find(name, now)
        if memory is None:
            self._collect(user, cabin)
            memory = cabin.segments.get(name)
        if memory is None:
            return None
        if size_bytes < 0 or not 0 <= offset <= len(memory) - size_bytes:
            raise Malformed(f"bytes {offset} to {offset + size_bytes} of a hold of {len(memory)}")
        return memoryview(memory)[offset : offset + size_bytes]

    def _collect(self, user: str, cabin: _Cabin) -> None:
        """Map what was handed over since; what is refused stays unknown, and travels by TCP."""
        for name, descriptor in self._doorstep.collect(user.encode()):
            try:
                if len(cabin.segments) < _MOST_SEGMENTS and name not in cabin.segments:
                    segment = map_segment(descriptor, cabin.room_bytes)
                    cabin.segments[name] = segment
                    cabin.room_bytes -= len(segment)
            except WireError as error:
                print(f"a submitter's memory is refused: {error.message}")  # noqa: T201 - the log
            finally:
                os.close(descriptor)
