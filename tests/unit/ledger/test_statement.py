"""Epoch statements: fixed bytes, and nothing in them that does not follow."""

from dataclasses import replace

import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.statement import (
    STATEMENT_BYTES,
    Statement,
    digest_members,
    disagreement,
    parse_statement,
)

NODES = (NodeId("a" * 26), NodeId("b" * 26))
PLAIN = Statement(
    audits=1_000,
    entropy_millionths=579_000,
    members=10,
    clock_ok=10,
    policy_ok=9,
    view_ok=10,
    policy=b"p" * 32,
    members_digest=digest_members(NODES),
    earliest_us=1,
    latest_us=2,
)


def test_a_statement_is_the_same_after_its_bytes() -> None:
    body = PLAIN.encode()
    assert len(body) == STATEMENT_BYTES == 104
    assert parse_statement(body) == PLAIN


def test_one_split_in_a_thousand_audits_is_low_entropy_and_two_are_not() -> None:
    assert PLAIN.mesh_entropy_millionths == 579
    assert PLAIN.low_entropy
    assert not replace(PLAIN, entropy_millionths=2 * 579_000).low_entropy
    assert PLAIN.enough_evidence
    assert not replace(PLAIN, audits=999).enough_evidence


def test_coherence_is_the_smallest_of_agreement_and_shares() -> None:
    assert PLAIN.coherence == 900
    assert replace(PLAIN, policy_ok=10).coherence == 999
    assert replace(PLAIN, policy_ok=10, entropy_millionths=0).coherence == 1_000
    assert replace(PLAIN, audits=0, entropy_millionths=0, policy_ok=10).coherence == 1_000


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_statement_whose_parts_do_not_fit_is_none(at: int) -> None:
    body = bytearray(PLAIN.encode())
    body[at] ^= 0x02
    with pytest.raises(Malformed):
        parse_statement(bytes(body))


@pytest.mark.parametrize(
    "change",
    [
        {"entropy_millionths": 1_001 * 1_000_000},
        {"clock_ok": 11},
        {"policy": b"short"},
        {"earliest_us": 3},
        {"members": 1 << 16, "clock_ok": 0},
    ],
)
def test_what_cannot_be_is_not_stated(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot be stated"):
        replace(PLAIN, **change).encode()  # type: ignore[arg-type]


def test_peers_compare_policy_and_members() -> None:
    digest = digest_members(reversed(NODES))
    assert disagreement(PLAIN, policy=b"p" * 32, members_digest=digest) == ""
    assert disagreement(PLAIN, policy=b"q" * 32, members_digest=digest) == "another policy"
    assert disagreement(PLAIN, policy=b"p" * 32, members_digest=b"") == "other members"
