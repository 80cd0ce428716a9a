"""Bodies of leaves as people see them."""

import pytest

from qallow_agent.base.errors import Malformed
from qallow_agent.base.ids import NodeId
from qallow_agent.ledger.bodies import (
    fork_body,
    objection_body,
    read_objection,
)
from qallow_agent.ledger.kinds import Objection


def test_a_fork_and_an_objection_are_told_apart() -> None:
    assert read_objection(fork_body("qallow-agent/m/n", "two heads")) == {
        "forked": "qallow-agent/m/n",
        "why": "two heads",
    }
    objection = Objection("qallow-agent/m/n", 3, NodeId("v"), "s1", "too hot", b"s")
    found = read_objection(objection_body(objection))
    assert (found["index"], found["signal"], found["validator"]) == (3, "s1", "v")


def test_other_bytes_are_no_objection() -> None:
    for body in (b"", b"fork", b"fork\nx", b"\x90", b"x" * 7):
        with pytest.raises(Malformed):
            read_objection(body)
