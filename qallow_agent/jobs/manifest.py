"""Manifests: where in a parcel the bytes of each array are, judged before they are touched."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.jobs.parcels import (
    ITEM_BYTES,
    MAX_NAME_BYTES,
    SMALL_BYTES,
    ArrayHead,
    Chunk,
    Header,
    ResultParcel,
    Snapshot,
    TaskParcel,
    announced,
    chunk_bytes,
    unpack_header,
)

MAX_FRAMES: Final = 65_536
ALIGN_BYTES: Final = 16
"""The small arrays of a task start at a multiple of this, in the frame they share with others."""

_OWN: Final = -1
_HELD: Final = -2


Buffer = bytes | memoryview
"""Received bytes: of a frame, or of a part of a hold."""


class Layout(NamedTuple):
    """Where the arrays of one task or result lie within its part of a parcel.

    Args:
        heads: Of its arrays.
        sizes: Bytes of each.
        places: For each its offset in the small part, or that it has its own frame or a hold.
        small_bytes: Length of the small part, a multiple of ALIGN_BYTES.
        own: Lengths of the frames that hold one array each.
        held: The heads that name a hold.
    """

    heads: tuple[ArrayHead, ...]
    sizes: tuple[int, ...]
    places: tuple[int, ...]
    small_bytes: int
    own: tuple[int, ...]
    held: tuple[ArrayHead, ...]


@functools.lru_cache(maxsize=1024)
def layout(heads: tuple[ArrayHead, ...]) -> Layout:
    """Return how the arrays of some untrusted heads lie; remembered, since most are alike.

    Raises:
        Malformed: Unknown dtype, absurd shape, or a place in a hold that cannot be.
    """
    sizes = tuple(announced(head) for head in heads)
    places: list[int] = []
    own: list[int] = []
    held: list[ArrayHead] = []
    end = 0
    for head, size in zip(heads, sizes, strict=True):
        if head.hold:
            if len(head.hold) > MAX_NAME_BYTES or head.offset < 0 or head.offset % ALIGN_BYTES:
                raise Malformed(f"array {head.name!r} lies at byte {head.offset} of a hold")
            places.append(_HELD)
            held.append(head)
        elif size < SMALL_BYTES:
            end = padded(end, ITEM_BYTES[head.dtype])
            places.append(end)
            end += size
        else:
            places.append(_OWN)
            own.append(size)
    return Layout(heads, sizes, tuple(places), padded(end), tuple(own), tuple(held))


def padded(size_bytes: int, align_bytes: int = ALIGN_BYTES) -> int:
    """Return the next multiple of an alignment."""
    return -(-size_bytes // align_bytes) * align_bytes


def join_small(plan: Layout, pieces: Sequence[bytes | memoryview]) -> bytes:
    """Return the small part of a task or result.

    Args:
        plan: Its layout.
        pieces: The bytes of its small arrays, in order.
    """
    joined: list[bytes | memoryview] = []
    end = 0
    position = 0
    for place in plan.places:
        if place < 0:
            continue
        if place != end:
            joined.append(bytes(place - end))
        joined.append(pieces[position])
        end = place + len(pieces[position])
        position += 1
    joined.append(bytes(plan.small_bytes - end))
    return b"".join(joined)


class Parts:
    """The bytes of one task's or result's arrays, in the order of its heads; cut when asked for.

    Args:
        plan: How they lie.
        frames: All raw frames of the parcel.
        base: Where in the first of them the small part starts.
        first: The first frame of its own.
        held: The bytes of the arrays that name a hold, in order.
    """

    __slots__ = ("_base", "_first", "_frames", "_held", "_plan")

    def __init__(
        self,
        plan: Layout,
        frames: Sequence[Buffer],
        base: int,
        first: int,
        held: Sequence[Buffer],
    ) -> None:
        self._plan = plan
        self._frames = frames
        self._base = base
        self._first = first
        self._held = held

    @property
    def heads(self) -> tuple[ArrayHead, ...]:
        """What the arrays are."""
        return self._plan.heads

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(self._plan.sizes)

    @property
    def large_bytes(self) -> int:
        """Bytes of the arrays that are not small, each at the start of a room's line."""
        plan = self._plan
        if not plan.own and not plan.held:
            return 0
        return sum(padded(size) for size in plan.sizes if size >= SMALL_BYTES)

    def __iter__(self) -> Iterator[Buffer]:
        """Yield the bytes of each array."""
        own, held = self._first, iter(self._held)
        for place, size in zip(self._plan.places, self._plan.sizes, strict=True):
            if place >= 0:
                start = self._base + place
                small = self._frames[0] if size else b""  # without any bytes there is no frame
                yield memoryview(small)[start : start + size]
            elif place == _OWN:
                yield self._frames[own]
                own += 1
            else:
                yield next(held)


class Manifest:
    """What a parcel carries besides its header.

    Args:
        header: Of the parcel.

    Raises:
        Malformed: An array head is unsound.
    """

    def __init__(self, header: Header) -> None:
        self.plans: list[Layout] = []
        """One for each task or result."""
        self.sizes: list[int] = []
        """Lengths of the raw frames that must follow the header."""
        self._small = False
        if isinstance(header, TaskParcel):
            self.plans = [layout(task.columns + task.arrays) for task in header.tasks]
        elif isinstance(header, ResultParcel):
            self.plans = _plans_of(header)
        elif isinstance(header, Snapshot):
            self.plans = [layout((header.state,))]
        elif isinstance(header, Chunk):
            self.sizes.append(chunk_bytes(header.offset, header.total_bytes))
            return
        small_bytes = sum([plan.small_bytes for plan in self.plans])
        self._small = small_bytes > 0
        if self._small:
            self.sizes.append(small_bytes)
        for plan in self.plans:
            if plan.own:
                self.sizes += plan.own

    def check(self, sizes: Sequence[int]) -> None:
        """Check the lengths of the raw frames that came.

        Raises:
            Malformed: More, fewer, or other lengths than announced.
        """
        if len(sizes) != len(self.sizes):
            raise Malformed(f"a parcel announces {len(self.sizes)} frames and has {len(sizes)}")
        for number, (wanted, found) in enumerate(zip(self.sizes, sizes, strict=True)):
            if wanted != found:
                raise Malformed(f"frame {number} has {found} bytes, announced are {wanted}")

    def parts(self, frames: Sequence[Buffer], find: Callable[[ArrayHead], Buffer]) -> list[Parts]:
        """Return the bytes of each task or result.

        Args:
            frames: The checked raw frames.
            find: Returns the part of a hold that a head names.
        """
        found: list[Parts] = []
        base, first = 0, int(self._small)
        for plan in self.plans:
            held = [find(head) for head in plan.held] if plan.held else ()
            found.append(Parts(plan, frames, base, first, held))
            base += plan.small_bytes
            first += len(plan.own)
        return found


def unpack(frames: Sequence[bytes | memoryview]) -> Header:
    """Return the header of a multipart message after checking every frame against it.

    Raises:
        TooLarge: The header or the number of frames exceeds its cap.
        Malformed: The header does not decode, or a frame's length contradicts it.
    """
    if not frames:
        raise Malformed("an empty parcel")
    if len(frames) > MAX_FRAMES:
        raise TooLarge(f"a parcel of {len(frames)} frames")
    header = unpack_header(frames[0])
    Manifest(header).check([len(frame) for frame in frames[1:]])
    return header


def _plans_of(header: ResultParcel) -> list[Layout]:
    plans: list[Layout] = []
    plan = layout(())
    for result in header.results:
        if result.arrays is not None:
            plan = layout(result.arrays)
        plans.append(plan)
    return plans
