"""One advert: signed by its node, and judged by anyone before it is believed."""

import math
from collections.abc import Collection, Iterable, Iterator

import msgspec

from qallow_agent.base.canonical import canonical
from qallow_agent.base.errors import BadSignature, Malformed, TooLarge
from qallow_agent.base.ids import key_id
from qallow_agent.base.keys import SIGNATURE_BYTES, SigningKey, verify
from qallow_agent.base.reading import Reading
from qallow_agent.mesh.wire.gate import GateReport
from qallow_agent.mesh.wire.kinds import Advert

DOMAIN = "qallow/advert/v1"

MAX_DEVICES = 64
"""Eight-GPU servers have nine; MIG splits each GPU into at most seven."""
MAX_KERNELS = 256
MAX_READINGS = 64
MAX_RATES = MAX_KERNELS
MAX_TTL_S = 3600.0
"""A dead node may not be believed longer than an hour, whatever it signed."""
MAX_THOUSANDTHS = 1_000
MAX_WORDS = 400
"""Characters of what an advert tells people about a gate."""
MAX_SIGNAL = 16
DIGEST_BYTES = 32
MAX_COUNT = 2**53
"""Integers beyond this lose digits as doubles on their way through JSON and dashboards."""

_VITAL = ("energy", "temperature", "utilization", "memory_available")
"""Readings that others reckon with."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Advert)


def sign_advert(advert: Advert, identity: SigningKey) -> Advert:
    """Return the advert with its signature, over exactly what a receiver will decode.

    An ``int`` in a ``float`` field arrives as a float and would sign differently there, so the
    advert goes through the codec once before it is signed.
    """
    plain = msgspec.structs.replace(advert, signature=b"")
    settled = _DECODER.decode(_ENCODER.encode(plain))
    return msgspec.structs.replace(settled, signature=identity.sign(_signed_bytes(settled)))


def thinner(advert: Advert) -> Iterator[Advert]:
    """Yield an advert with less and less of what its devices' sensors tell, itself first.

    A machine with many devices could tell more than peers take. What placement needs stays longest;
    the rest is shown by the machine itself.
    """
    yield advert
    for keeps in (_known, _vital, _none):
        devices = tuple(
            msgspec.structs.replace(
                device,
                readings={
                    name: reading
                    for name, reading in device.readings.items()
                    if keeps(name, reading)
                },
            )
            for device in advert.devices
        )
        yield msgspec.structs.replace(advert, devices=devices)


def judge_advert(advert: Advert, node_key: bytes, max_bytes: int) -> int:
    """Check everything about an advert but its age, cheapest first; return its size in bytes.

    Raises:
        TooLarge: More entries or bytes than the caps.
        Malformed: A number is out of range or the key is not this node's.
        BadSignature: The node did not sign this.
    """
    _check_counts(advert)
    _check_numbers(advert)
    if len(advert.signature) != SIGNATURE_BYTES:
        raise BadSignature("an advert carries no signature")
    if key_id(node_key) != advert.node:
        raise Malformed("an advert's key does not give its node id")
    data = _signed_bytes(advert)
    if len(data) > max_bytes:
        raise TooLarge(f"an advert of {len(data)} bytes exceeds {max_bytes}")
    verify(node_key, data, advert.signature)
    return len(data) + SIGNATURE_BYTES


def _known(_: str, reading: Reading) -> bool:
    return reading.value is not None


def _vital(name: str, reading: Reading) -> bool:
    return name in _VITAL and _known(name, reading)


def _none(_: str, _reading: Reading) -> bool:
    return False


def _signed_bytes(advert: Advert) -> bytes:
    return canonical(DOMAIN, msgspec.structs.replace(advert, signature=b""))


def _check_counts(advert: Advert) -> None:
    if len(advert.devices) > MAX_DEVICES or len(advert.kernels) > MAX_KERNELS:
        raise TooLarge("an advert lists too many devices or kernels")
    tables: list[tuple[str, Collection[object], int]] = [
        ("readings", advert.readings, MAX_READINGS)
    ]
    for device in advert.devices:
        tables.append(("device readings", device.readings, MAX_READINGS))
        tables.append(("rates", device.rates, MAX_RATES))
        tables.append(("joules per op", device.joules, MAX_RATES))
        tables.append(("tried kernels", device.tried, MAX_RATES))
    for what, table, cap in tables:
        if len(table) > cap:
            raise TooLarge(f"an advert lists {len(table)} {what}, the cap is {cap}")


def _check_numbers(advert: Advert) -> None:
    if not 0 < advert.ttl_s <= MAX_TTL_S:
        raise Malformed(f"an advert's lifetime of {advert.ttl_s} s is out of range")
    _check_whole((advert.epoch, advert.version, advert.issued_ms))
    _check_readings(advert.readings.values())
    names = [device.name for device in advert.devices]
    if len(dict.fromkeys(names)) != len(names):
        raise Malformed("an advert names two devices alike")
    for device in advert.devices:
        _check_whole(
            (
                device.slots,
                device.busy,
                device.memory_bytes,
                device.warm,
                device.waiting,
                device.reserved_bytes,
            )
        )
        _check_readings(device.readings.values())
        if device.gate is not None:
            _check_gate(device.gate)
        for rate in (*device.rates.values(), *device.joules.values()):
            if not (math.isfinite(rate) and rate >= 0):
                raise Malformed("an advert's rate is not a finite, non-negative number")


def _check_gate(gate: GateReport) -> None:
    if any(not 0 <= part <= MAX_THOUSANDTHS for part in (gate.s, gate.c, gate.h)):
        raise Malformed("a score in an advert is out of range")
    if any(len(signal) > MAX_SIGNAL for signal in gate.culprits):
        raise Malformed("an advert names a signal that is none")
    if len(gate.policy) not in {0, DIGEST_BYTES}:
        raise Malformed("an advert's policy is no digest")
    if len(gate.why) > MAX_WORDS or len(gate.fix) > MAX_WORDS:
        raise TooLarge("an advert says too much of its gate")


def _check_whole(numbers: Iterable[int]) -> None:
    if any(not 0 <= number < MAX_COUNT for number in numbers):
        raise Malformed("a count in an advert is out of range")


def _check_readings(readings: Iterable[Reading]) -> None:
    for reading in readings:
        if reading.value is None:
            if reading.provenance != "unknown":
                raise Malformed("a reading without a value must be unknown")
        elif not math.isfinite(reading.value):
            raise Malformed("a reading in an advert is not finite")
