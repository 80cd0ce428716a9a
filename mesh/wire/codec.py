"""Letters to bytes and back: typed, capped and versioned; junk raises only wire errors."""

from collections.abc import Mapping

import msgspec

from qallow_agent.base.errors import (
    InvariantBroken,
    Malformed,
    TooLarge,
    UnknownKind,
    VersionMismatch,
)
from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.base.message import Message, kind_of
from qallow_agent.mesh.wire.envelope import TRACE_LIMIT, Envelope, Letter, Preamble
from qallow_agent.mesh.wire.identity import is_identity
from qallow_agent.mesh.wire.kinds import OLDEST_PROTOCOL, PROTOCOL

LIMIT_BYTES = 65_536
"""Cap of a control message: typed decoding of 64 KiB stays far below a millisecond and 5 MiB."""

_ENCODER = msgspec.msgpack.Encoder()
_JUNK = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MeshCodec:
    """Encodes and decodes letters of a closed set of kinds under one size cap.

    Args:
        kinds: Kind -> class, from :func:`qallow_agent.base.message.kinds`.
        limit_bytes: Larger letters are refused in both directions.
    """

    def __init__(self, kinds: Mapping[str, type[Message]], limit_bytes: int = LIMIT_BYTES) -> None:
        self._decoders = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in kinds.items()}
        self._outer = msgspec.msgpack.Decoder(Envelope)
        self._preamble = msgspec.msgpack.Decoder(Preamble)
        self.limit_bytes = limit_bytes

    def encode(self, message: Message, sender: NodeId, stamp: Stamp, trace: str = "") -> bytes:
        """Return the bytes of one letter.

        Raises:
            InvariantBroken: The kind is not in our set: we would send what nobody may say here.
            TooLarge: The letter exceeds the cap.
        """
        kind = kind_of(message)
        if kind not in self._decoders:
            raise InvariantBroken(f"{kind!r} is not spoken on this channel")
        body = msgspec.Raw(_ENCODER.encode(message))
        data = _ENCODER.encode(Envelope(PROTOCOL, kind, sender, stamp, trace, body))
        if len(data) > self.limit_bytes:
            raise TooLarge(f"a {kind!r} letter of {len(data)} bytes exceeds {self.limit_bytes}")
        return data

    def decode(self, data: bytes | memoryview) -> Letter:
        """Return the letter that some bytes hold.

        Raises:
            TooLarge: More bytes than the cap; nothing was decoded.
            VersionMismatch: Another protocol; names both versions and the side to upgrade.
            UnknownKind: Well-formed, but of a kind outside our set.
            Malformed: Anything else that is wrong with the bytes.
        """
        if len(data) > self.limit_bytes:
            raise TooLarge(f"{len(data)} bytes exceed the cap of {self.limit_bytes}")
        try:
            envelope = self._outer.decode(data)
        except _JUNK as error:
            self._blame_version(data)
            raise Malformed(f"bytes are no envelope: {error}") from error
        _check_envelope(envelope)
        decoder = self._decoders.get(envelope.kind)
        if decoder is None:
            raise UnknownKind(f"unknown message kind {envelope.kind[:40]!r}")
        try:
            message = decoder.decode(envelope.body)
        except _JUNK as error:
            raise Malformed(f"the body of a {envelope.kind!r} does not decode: {error}") from error
        return Letter(envelope.sender, message, envelope.stamp, envelope.trace)

    def _blame_version(self, data: bytes | memoryview) -> None:
        """Prefer VersionMismatch where another version's envelope merely looks malformed to us."""
        try:
            preamble = self._preamble.decode(data)
        except _JUNK:
            return
        _check_protocol(preamble.protocol, "the peer")


def _check_envelope(envelope: Envelope) -> None:
    sender = envelope.sender
    named = is_identity(sender)
    _check_protocol(envelope.protocol, f"node {sender}" if named else "the peer")
    if not named:
        raise Malformed(f"{sender[:40]!r} is no node id")
    if len(envelope.trace) > TRACE_LIMIT:
        raise Malformed(f"trace context of {len(envelope.trace)} characters exceeds {TRACE_LIMIT}")


def _check_protocol(spoken: int, peer: str) -> None:
    if OLDEST_PROTOCOL <= spoken <= PROTOCOL:
        return
    older = peer if spoken < OLDEST_PROTOCOL else "this node"
    raise VersionMismatch(
        f"{peer} speaks protocol {spoken}, this node {OLDEST_PROTOCOL} to {PROTOCOL}",
        hint=f"upgrade qallow-agent on {older}",
    )
