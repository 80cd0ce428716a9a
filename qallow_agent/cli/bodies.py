"""What the bodies of leaves say: one decoder a kind, imported when a leaf of it is shown."""

from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from qallow_agent.base.errors import Malformed, WireError
from qallow_agent.ledger.leaf import DIGEST_BYTES, Leaf, LeafKind

DECODERS: dict[LeafKind, str] = {
    LeafKind.DECISIONS: "qallow_agent.cli.bodies:decisions",
    LeafKind.RECEIPT: "qallow_agent.cli.receiptview:spelt_out",
    LeafKind.OVERRIDE: "qallow_agent.cli.bodies:change",
    LeafKind.POLICY: "qallow_agent.cli.bodies:change",
    LeafKind.MEMBERSHIP: "qallow_agent.cli.bodies:membership",
    LeafKind.EPOCH: "qallow_agent.cli.bodies:statement",
    LeafKind.OBJECTION: "qallow_agent.ledger.bodies:read_objection",
}
"""Kind -> ``module:function`` that turns a body into a JSON-shaped mapping.

The function may raise WireError; a kind without one is shown in hexadecimal.
"""

_SHOWN_BYTES = 64
_START_BYTES = 8
"""Before the records: the milliseconds since 1970 that theirs count from."""
_VERSION_BYTES = 8


def decoded(leaf: Leaf) -> Mapping[str, Any]:
    """Return what a leaf's body says, JSON-shaped."""
    known = DECODERS.get(leaf.kind)
    if known is not None:
        module, _, name = known.partition(":")
        try:
            found: Mapping[str, Any] = getattr(import_module(module), name)(leaf.body)
        except WireError as error:
            return {"error": error.message, "hex": leaf.body[:_SHOWN_BYTES].hex()}
        return found
    more = len(leaf.body) > _SHOWN_BYTES
    return {"hex": leaf.body[:_SHOWN_BYTES].hex() + ("..." if more else "")}


def decisions(body: bytes) -> Mapping[str, Any]:
    """Return what a batch of decisions says: how many of which verdict, and the lowest scores.

    Raises:
        Malformed: It is none.
    """
    from qallow_agent.ethics.gate import Admission  # noqa: PLC0415 - few leaves are of this kind
    from qallow_agent.ethics.records import RECORD_BYTES, unpack  # noqa: PLC0415

    if len(body) < _START_BYTES or (len(body) - _START_BYTES) % RECORD_BYTES:
        raise Malformed(f"a batch of decisions of {len(body)} bytes")
    records = [
        unpack(body[at : at + RECORD_BYTES]) for at in range(_START_BYTES, len(body), RECORD_BYTES)
    ]
    verdicts = Counter(Admission(each.admission).name.lower() for each in records)
    lowest = min((each.s + each.c + each.h for each in records), default=0)
    return {"decisions": len(records), **dict(sorted(verdicts.items())), "lowest_e": lowest / 1000}


def change(body: bytes) -> Mapping[str, Any]:
    """Return what changed in what a node may do: a policy, an exception, a pause.

    Raises:
        Malformed: It is no such change.
    """
    import msgspec  # noqa: PLC0415 - as above

    from qallow_agent.ethics.charter import RECORD  # noqa: PLC0415

    domain, _, data = body.partition(b"\x00")
    if domain != RECORD.encode():
        raise Malformed("a leaf holds no change of a policy")
    try:
        said = msgspec.msgpack.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a change of a policy does not decode: {error}") from error
    return {key: _plain(value) for key, value in said.items()}


def _plain(value: Any) -> Any:
    """Return a value with its bytes in hexadecimal, so that it can be shown as JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def membership(body: bytes) -> Mapping[str, Any]:
    """Return which committee certifies from this leaf on.

    Raises:
        Malformed: It says none.
    """
    if len(body) != _VERSION_BYTES + DIGEST_BYTES:
        raise Malformed(f"a committee of {len(body)} bytes")
    version, digest = body[:_VERSION_BYTES], body[_VERSION_BYTES:]
    return {"committee": int.from_bytes(version), "manifest": digest.hex()}


def statement(body: bytes) -> Mapping[str, Any]:
    """Return what an epoch statement says.

    Raises:
        Malformed: It is none.
    """
    from qallow_agent.ledger.statement import parse_statement  # noqa: PLC0415 - as above

    said = parse_statement(body)
    return {
        "audits": said.audits,
        "entropy_millionths": said.entropy_millionths,
        "members": said.members,
        "clock_ok": said.clock_ok,
        "policy_ok": said.policy_ok,
        "view_ok": said.view_ok,
    }
