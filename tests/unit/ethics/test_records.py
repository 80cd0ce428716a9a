"""Decision records: 40 bytes that say who, what, when, why and by which evidence."""

import msgspec
import pytest

from qallow_agent.base.errors import InvariantBroken, Malformed
from qallow_agent.ethics.evidence import digest
from qallow_agent.ethics.examples import START_MS, comfortable
from qallow_agent.ethics.gate import Gate
from qallow_agent.ethics.policy import Override, Policy, preset
from qallow_agent.ethics.records import (
    DecisionRecord,
    Flag,
    job_hash,
    pack,
    record,
    unpack,
    unpack_all,
)
from qallow_agent.ethics.score import score

DESKTOP = preset("desktop")


def decided(changed: dict[str, float | None], policy: Policy = DESKTOP) -> DecisionRecord:
    evidence = comfortable(changed)
    found = score(evidence, policy, START_MS)
    return record(evidence, found, Gate().judge("d", found, 0.0), START_MS - 250)


def test_a_record_says_what_was_decided_and_by_which_evidence() -> None:
    found = decided({"c3": 0.4})
    assert (found.job, found.ms) == (job_hash("job-6lq2"), 250)
    assert (found.s, found.c, found.h, found.culprits) == (1000, 400, 1000, (0, 24, 0))
    assert (found.admission, found.running, found.flags) == (2, 1, 0)
    assert found.evidence == digest(comfortable({"c3": 0.4}))[:12]


def test_the_bytes_stay_what_they_are() -> None:
    found = DecisionRecord(
        b"jobjobjo", b"cpu0", 258, 1000, 970, 1, 2, 3, (0, 31, 45), b"evidence-dig", 0x8001
    )
    assert pack(found).hex() == (
        "6a6f626a6f626a6f" "63707530" "00000102" "03e8" "03ca" "0001" "0e" "001f2d"
        "65766964656e63652d646967" "8001"
    )  # fmt: skip


def test_flags_tell_solo_overridden_stopped_and_reopening() -> None:
    assert decided({"h.known": 0}).flags == Flag.SOLO
    policy = Policy(overrides=(Override("c3", START_MS + 1),))
    assert decided({"c3": 0.9}, policy).flags == Flag.OVERRIDDEN
    assert decided({"c8": 0}).flags == Flag.STOPPED
    gate, evidence = Gate(), comfortable()
    well = score(evidence, DESKTOP, START_MS)
    gate.judge("d", score(comfortable({"c8": 0}), DESKTOP, START_MS), 0.0)
    assert record(evidence, well, gate.judge("d", well, 1.0), START_MS).flags == Flag.REOPENING


@pytest.mark.parametrize(
    "change",
    [{"ms": -1}, {"ms": 1 << 32}, {"s": 1001}, {"job": b"short"}, {"admission": 3},
     {"running": 4}, {"culprits": (256, 0, 0)}, {"flags": 1 << 16}],
)  # fmt: skip
def test_what_does_not_fit_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(InvariantBroken):
        pack(msgspec.structs.replace(decided({}), **change))


@pytest.mark.parametrize(("at", "byte"), [(16, 0xFF), (22, 0x03), (22, 0x10)])
def test_bytes_that_say_the_impossible_are_refused(at: int, byte: int) -> None:
    data = bytearray(pack(decided({})))
    data[at] = byte
    with pytest.raises(Malformed):
        unpack(bytes(data))


def test_a_leaf_holds_whole_records() -> None:
    body = pack(decided({})) + pack(decided({"c3": 0.4}))
    assert unpack_all(body) == [decided({}), decided({"c3": 0.4})]
    with pytest.raises(Malformed, match="no whole number"):
        unpack_all(body[:-1])
