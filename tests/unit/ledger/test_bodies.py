"""Bodies of leaves as people see them."""

import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.bodies import (
    committee_body,
    fork_body,
    objection_body,
    read_epoch,
    read_membership,
    read_objection,
)
from qallow_agent.ledger.kinds import Objection
from qallow_agent.ledger.statement import Statement


def test_a_committee_is_named_by_version_and_manifest() -> None:
    found = read_membership(committee_body(7, b"d" * 32))
    assert found == {"committee": 7, "manifest": "64" * 32}


def test_a_fork_and_an_objection_are_told_apart() -> None:
    assert read_objection(fork_body("qallow-agent/m/n", "two heads")) == {
        "forked": "qallow-agent/m/n",
        "why": "two heads",
    }
    objection = Objection("qallow-agent/m/n", 3, NodeId("v"), "s1", "too hot", b"s")
    found = read_objection(objection_body(objection))
    assert (found["index"], found["signal"], found["validator"]) == (3, "s1", "v")


def test_a_statement_is_shown_with_what_follows_from_it() -> None:
    stated = Statement(1_000, 0, 4, 4, 3, 4, b"p" * 32, b"m" * 32, 1, 2)
    assert read_epoch(stated.encode())["coherence"] == 0.75


@pytest.mark.parametrize("read", [read_epoch, read_membership, read_objection])
def test_other_bytes_are_none_of_them(read: object) -> None:
    for body in (b"", b"fork", b"fork\nx", b"\x90", b"x" * 7):
        with pytest.raises(Malformed):
            read(body)  # type: ignore[operator]
