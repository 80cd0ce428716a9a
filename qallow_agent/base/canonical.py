"""Canonical bytes for anything signed or hashed: one value, one encoding."""

import hashlib

import msgspec

_ENCODER = msgspec.msgpack.Encoder(order="sorted")


def canonical(domain: str, value: object) -> bytes:
    """Return the signed bytes of a value: its domain, a zero byte, sorted-key MessagePack.

    The domain (``"qallow/certificate/v1"``) keeps a signature of one kind from being replayed as
    another. Floats are allowed only where both sides copy the same bits.
    """
    return (
        domain.encode()
        + b"\x00"
        + _ENCODER.encode(msgspec.to_builtins(value, builtin_types=(bytes,)))
    )


def digest(domain: str, value: object) -> str:
    """Return the hex SHA-256 of a value's canonical bytes."""
    return hashlib.sha256(canonical(domain, value)).hexdigest()
