"""The envelope of every message between members: who says what, when, in which protocol."""

from dataclasses import dataclass

import msgspec

from qallow_agent.base.hlc import Stamp
from qallow_agent.base.ids import NodeId
from qallow_agent.base.message import Message

TRACE_LIMIT = 128
"""Characters of trace context; a W3C ``traceparent`` has 55."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The outer array on the wire; fields are only ever appended.

    ``protocol`` stays first for ever, so that any two builds can at least name their versions.
    """

    protocol: int
    kind: str
    sender: NodeId
    stamp: Stamp
    trace: str
    body: msgspec.Raw


class Preamble(msgspec.Struct, frozen=True, array_like=True):
    """The one element that every protocol version shares."""

    protocol: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A decoded message with what its envelope said.

    ``sender`` is what the bytes claim; whoever holds the authenticated sender compares the two.
    """

    sender: NodeId
    message: Message
    stamp: Stamp
    trace: str = ""
