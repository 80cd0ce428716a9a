from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qallow_agent.base.ids import NodeId
from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.buckets import Buckets
from qallow_agent.mesh.io.zap import Gate, ZapHandler

KEY = b"\x01" * 32
OTHER = b"\x02" * 32
ALICE = NodeId("alice")
BOB = NodeId("bob")


class Porch:
    """A handler without a socket, with a crowd and a clock that tests set."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.drops: Counter[str] = Counter()
        self.crowd = 0
        self.heard: list[NodeId] = []
        self.now = 0.0
        socket: Any = None
        self.handler = ZapHandler(
            socket,
            self.gate,
            Buckets(1.0, 2, 10),
            self.heard.append,
            lambda: self.crowd,
            5,
            lambda: Instant(self.now, 0),
            self.drops,
        )

    def ask(self, domain: bytes = b"mesh", key: bytes = KEY, mechanism: bytes = b"CURVE") -> str:
        request = [b"1.0", b"7", domain, b"10.0.0.1", b"", mechanism, key]
        version, request_id, status, _text, user, _metadata = self.handler.answer(request)
        assert (version, request_id) == (b"1.0", b"7")
        assert user == (key.hex().encode() if status == b"200" else b"")
        return status.decode()


@pytest.fixture
def porch() -> Porch:
    return Porch()


def test_only_an_admitted_key_enters_the_mesh(porch: Porch) -> None:
    assert porch.ask() == "400"
    assert porch.gate.allow(ALICE, KEY)
    assert porch.ask() == "200"
    assert porch.ask(key=OTHER) == "400"
    porch.gate.remove(ALICE)
    assert porch.ask() == "400"
    assert porch.drops["handshake.stranger"] == 3
    assert porch.heard == [ALICE]


def test_anybody_may_come_to_the_door_but_not_too_often(porch: Porch) -> None:
    assert [porch.ask(b"door") for _ in range(3)] == ["200", "200", "300"]
    porch.now = 1.0
    assert porch.ask(b"door") == "200"


def test_a_full_door_asks_newcomers_to_come_back(porch: Porch) -> None:
    porch.crowd = 6
    assert porch.ask(b"door") == "300"


def test_a_banned_key_enters_nowhere(porch: Porch) -> None:
    porch.gate.allow(ALICE, KEY)
    porch.gate.ban(ALICE)
    assert porch.ask() == "400"
    assert porch.ask(b"door") == "400"
    assert not porch.gate.allow(ALICE, OTHER)
    assert not porch.gate.allow(BOB, KEY)
    assert porch.gate.is_banned(ALICE)


def test_an_unknown_domain_or_mechanism_is_refused(porch: Porch) -> None:
    porch.gate.allow(ALICE, KEY)
    assert porch.ask(b"global") == "500"
    assert porch.ask(mechanism=b"NULL") == "400"
    assert porch.ask(key=KEY[:-1]) == "400"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=40), max_size=9))
def test_no_request_whatever_passes_a_stranger(request: list[bytes]) -> None:
    porch = Porch()
    status = porch.handler.answer(request)[2]
    is_door = len(request) == 7 and request[2] == b"door"
    assert is_door or status != b"200"


def test_a_new_key_replaces_the_old_one(porch: Porch) -> None:
    porch.gate.allow(ALICE, KEY)
    assert porch.gate.allow(ALICE, OTHER)
    assert porch.gate.node_of(KEY.hex()) is None
    assert porch.gate.node_of(OTHER.hex()) == ALICE


def test_a_key_is_never_given_to_a_second_node(porch: Porch) -> None:
    porch.gate.allow(ALICE, KEY)
    assert not porch.gate.allow(BOB, KEY)
    assert porch.gate.node_of(KEY.hex()) == ALICE
