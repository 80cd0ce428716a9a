"""Raw frames of parcels, put together and taken apart the plain way, for tests of either end."""

from collections.abc import Sequence

from qallow_agent.base.errors import InvariantBroken
from qallow_agent.jobs.holds import Holds
from qallow_agent.jobs.manifest import Manifest, join_small, unpack
from qallow_agent.jobs.parcels import SMALL_BYTES, ArrayHead, Chunk, Header

_MOST_BYTES = 1 << 30


def raw_frames(header: Header, arrays: Sequence[bytes]) -> list[bytes]:
    """Return the frames that follow a header whose arrays name no holds.

    Args:
        header: Of the parcel.
        arrays: The bytes of every array, in the order of the heads.
    """
    given = iter(arrays)
    small: list[bytes] = []
    own: list[bytes] = []
    for plan in Manifest(header).plans:
        pieces: list[bytes] = []
        for _ in plan.heads:
            data = next(given)
            (pieces if len(data) < SMALL_BYTES else own).append(data)
        small.append(join_small(plan, pieces))
    joined = b"".join(small)
    return [joined, *own] if joined else own


class Unloader:
    """Takes in whole messages, and puts together what travels apart."""

    def __init__(self) -> None:
        self._holds = Holds(bytearray, _MOST_BYTES)

    def take(self, frames: Sequence[bytes]) -> tuple[Header, list[bytes]] | None:
        """Return a parcel and the bytes of all its arrays; None for a piece of an array.

        Raises:
            WireError: It is no sound parcel.
        InvariantBroken: An array names a hold that is not complete.
        """
        header = unpack(frames)
        if isinstance(header, Chunk):
            self._holds.put(header, memoryview(frames[1]), 0.0)
            return None
        parts = Manifest(header).parts(frames[1:], self._find)
        return header, [bytes(data) for part in parts for data in part]

    def _find(self, head: ArrayHead) -> memoryview:
        found = self._holds.find(head.hold, 0.0)
        if found is None:
            raise InvariantBroken(f"{head} names what did not come")
        self._holds.used(head.hold)
        return found[head.offset : head.offset + head.size_bytes]
