"""What the bodies of this package's leaves say, for people."""

from typing import Any

import msgspec

from qallow_agent.base.errors import Malformed
from qallow_agent.ledger.kinds import Objection
from qallow_agent.ledger.statement import parse_statement

_FORK = b"fork\n"
_VERSION_BYTES = 8
_DIGEST_BYTES = 32
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


def read_epoch(body: bytes) -> dict[str, Any]:
    """Return what an epoch statement says; JSON-shaped.

    Raises:
        Malformed: It is none.
    """
    stated = parse_statement(body)
    return {
        "coherence": stated.coherence / 1_000,
        "members": stated.members,
        "clock_ok": stated.clock_ok,
        "policy_ok": stated.policy_ok,
        "view_ok": stated.view_ok,
        "audits": stated.audits,
        "mesh_entropy": stated.mesh_entropy_millionths / 1e6,
        "enough_evidence": stated.enough_evidence,
        "policy": stated.policy.hex(),
        "members_digest": stated.members_digest.hex(),
        "earliest_us": stated.earliest_us,
        "latest_us": stated.latest_us,
    }


def read_membership(body: bytes) -> dict[str, Any]:
    """Return which committee certifies from there on; JSON-shaped.

    Raises:
        Malformed: It is no such body.
    """
    if len(body) != _VERSION_BYTES + _DIGEST_BYTES:
        raise Malformed(f"a body of {len(body)} bytes names no committee")
    version = int.from_bytes(body[:_VERSION_BYTES])
    return {"committee": version, "manifest": body[_VERSION_BYTES:].hex()}


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
