"""What the bodies of this package's leaves say, for people."""

from typing import Any

import msgspec

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.kinds import Objection

_FORK = b"fork\n"
_VERSION_BYTES = 8
_OBJECTION = msgspec.msgpack.Decoder(tuple[str, int, str, str, str, bytes])


def committee_body(version: int, digest: bytes) -> bytes:
    """Return the body that says which committee certifies from now on."""
    return version.to_bytes(_VERSION_BYTES) + digest


def fork_body(origin: str, why: str) -> bytes:
    """Return the body that says that a log forked."""
    return _FORK + f"{origin}\n{why}\n".encode()


def objection_body(objection: Objection) -> bytes:
    """Return the body that keeps a validator's signed objection."""
    return msgspec.msgpack.encode(msgspec.structs.astuple(objection))


def read_objection(body: bytes) -> dict[str, Any]:
    """Return what a validator objected to, or which log forked; JSON-shaped.

    Raises:
        Malformed: It is neither.
    """
    try:
        if body.startswith(_FORK):
            _, origin, why, _ = body.decode().split("\n")
            return {"forked": origin, "why": why}
        origin, index, validator, signal, why, signature = _OBJECTION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Malformed("a body says no objection") from error
    return {
        "origin": origin,
        "index": index,
        "validator": validator,
        "signal": signal,
        "why": why,
        "signature": signature.hex(),
    }
