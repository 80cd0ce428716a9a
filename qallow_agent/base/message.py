"""The base of every typed message, and the registry that names their kinds."""

from collections.abc import Iterable
from typing import Any, dataclass_transform

import msgspec

from qallow_agent.base.errors import InvariantBroken, QallowError


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact or request that travels; subclasses declare their kind with ``tag="room.noun"``.

    Unknown fields are ignored when decoding, so that a newer peer may add some.
    """


def kind_of(message: Message | type[Message]) -> str:
    """Return the stable kind of a message, e.g. ``"swim.probe"``."""
    tag = message.__struct_config__.tag
    if not isinstance(tag, str):
        raise InvariantBroken(f"{message!r} declares no tag")
    return tag


class Failure(Message, tag="failure"):
    """The answer to a request that could not be served: an error that travels by its code."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False


def failure(error: QallowError) -> Failure:
    """Return an error as the message that carries it."""
    return Failure(error.code, error.message, error.hint, error.retryable)


class Report(Message, tag="report"):
    """A JSON-shaped document that answers a query; ``schema`` names its documented shape."""

    schema: str
    document: dict[str, Any]


class Done(Message, tag="done"):
    """The request was carried out; nothing else to say."""


def kinds(types: Iterable[type[Message]]) -> dict[str, type[Message]]:
    """Return kind -> class.

    Raises:
        InvariantBroken: Two classes claim one kind.
    """
    table: dict[str, type[Message]] = {}
    for message_type in types:
        kind = kind_of(message_type)
        if kind in table:
            raise InvariantBroken(f"two messages claim the kind {kind!r}")
        table[kind] = message_type
    return table
