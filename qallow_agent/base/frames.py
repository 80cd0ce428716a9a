"""Length-prefixed frames on a byte stream: the local pipes and the control socket."""

import struct

from qallow_agent.base.errors import TooLarge

_PREFIX = struct.Struct("<IQ")


def frame(channel: int, payload: bytes) -> bytes:
    """Return a payload behind its prefix: u32 length, u64 channel, little-endian."""
    return _PREFIX.pack(len(payload), channel) + payload


class FrameReader:
    """Cuts a byte stream into frames, whatever pieces it arrives in.

    Args:
        limit_bytes: A longer announced frame is refused before it is buffered.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take in some bytes and return the frames they complete, as (channel, payload).

        Raises:
            TooLarge: A frame announces more than the cap; the stream is beyond repair.
        """
        self._buffer += data
        frames: list[tuple[int, bytes]] = []
        while len(self._buffer) >= _PREFIX.size:
            length, channel = _PREFIX.unpack_from(self._buffer)
            if length > self._limit_bytes:
                raise TooLarge(f"a frame announces {length} bytes, the cap is {self._limit_bytes}")
            end = _PREFIX.size + length
            if len(self._buffer) < end:
                break
            frames.append((channel, bytes(self._buffer[_PREFIX.size : end])))
            del self._buffer[:end]
        return frames
