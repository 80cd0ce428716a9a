"""Typed bytes: one message to ``[kind, body]`` in MessagePack and back, judged while decoding."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.errors import InvariantBroken, Malformed, TooLarge, UnknownKind
from qallow_agent.base.message import Message, kind_of

_ENCODER = msgspec.msgpack.Encoder()


class _Tagged(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    kind: str
    body: msgspec.Raw


class Codec:
    """Encodes and decodes a closed set of message kinds under one size cap.

    Args:
        kinds: Kind -> class, from :func:`qallow_agent.base.message.kinds`.
        limit_bytes: Larger messages are refused in both directions.
    """

    def __init__(self, kinds: Mapping[str, type[Message]], limit_bytes: int) -> None:
        self._decoders = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in kinds.items()}
        self._outer = msgspec.msgpack.Decoder(_Tagged)
        self.limit_bytes = limit_bytes

    def encode(self, message: Message) -> bytes:
        """Return the bytes of a message.

        Raises:
            InvariantBroken: The kind is not in our set: we would send what nobody may say here.
            TooLarge: The message exceeds the cap.
        """
        kind = kind_of(message)
        if kind not in self._decoders:
            raise InvariantBroken(f"{kind!r} is not spoken on this channel")
        data = _ENCODER.encode(_Tagged(kind, msgspec.Raw(_ENCODER.encode(message))))
        if len(data) > self.limit_bytes:
            raise TooLarge(f"a {kind!r} message of {len(data)} bytes exceeds {self.limit_bytes}")
        return data

    def decode(self, data: bytes | memoryview) -> Message:
        """Return the message that some bytes hold.

        Raises:
            TooLarge: More bytes than the cap; nothing was decoded.
            UnknownKind: Well-formed, but of a kind outside our set.
            Malformed: Anything else that is wrong with the bytes.
        """
        if len(data) > self.limit_bytes:
            raise TooLarge(f"{len(data)} bytes exceed the cap of {self.limit_bytes}")
        try:
            tagged = self._outer.decode(data)
            decoder = self._decoders.get(tagged.kind)
            if decoder is None:
                raise UnknownKind(f"unknown message kind {tagged.kind[:40]!r}")
            return decoder.decode(tagged.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"bytes do not decode: {error}") from error
