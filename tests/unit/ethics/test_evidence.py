"""Evidence: floats become integers once, at the border, and junk is the peer's fault."""

import math

import pytest

from qallow_agent.base.errors import Malformed, TooLarge
from qallow_agent.base.reading import Reading, unknown
from qallow_agent.ethics.evidence import (
    MAX_VALUE,
    Evidence,
    Item,
    decode,
    digest,
    encode,
    from_reading,
    millionths,
)
from qallow_agent.ethics.examples import START_MS, comfortable


def test_a_number_becomes_whole_millionths_within_the_caps() -> None:
    assert [millionths(each) for each in (0.1, -0.0000005, 1e30, -math.inf)] == [
        100_000, 0, MAX_VALUE, -MAX_VALUE,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no evidence"):
        millionths(math.nan)


def test_a_reading_keeps_its_source_and_provenance() -> None:
    reading = Reading(0.35, "ratio", "rapl", "estimated", "by a model")
    found = from_reading("s1", reading, 7)
    assert found == Item("s1", 350_000, "ratio", 7, "rapl", "estimated", "by a model")


@pytest.mark.parametrize(
    ("reading", "why"),
    [(unknown("ratio", "rapl", "no permission"), "no permission"),
     (Reading(math.nan, "ratio", "rapl"), "not a number")],
)  # fmt: skip
def test_a_reading_without_a_number_is_unknown_and_says_why(reading: Reading, why: str) -> None:
    assert from_reading("s1", reading, 7) == Item("s1", None, "ratio", 7, "rapl", "unknown", why)


def test_the_digest_stays_what_it_is() -> None:
    assert digest(Evidence("n", "d", "j", 1, (Item("s1", 2, "ratio", 3, "x"),))).hex() == (
        "bd0f5c63159052d7a1372be3b1d1ef7a7692bbf558593b376fedb75b2de95fc7"
    )


def test_a_peers_evidence_is_capped_and_judged() -> None:
    whole = comfortable()
    assert decode(encode(whole)) == whole
    with pytest.raises(TooLarge, match="bytes"):
        decode(bytes(20_000))
    with pytest.raises(TooLarge, match="items"):
        decode(encode(Evidence("n", "d", "j", 1, whole.items[:1] * 65)))
    with pytest.raises(Malformed):
        decode(encode(whole)[:-1])


def test_a_signal_that_is_not_there_is_not_found() -> None:
    assert comfortable(without=("s1",)).find("s1") is None
    found = comfortable().find("s1")
    assert found is not None
    assert found.time_ms == START_MS
