"""The driver's side of a log: durable before anything later is said, and the node hears of it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.base.errors import StorageError
from qallow_agent.base.ids import STORE, NodeId, control
from qallow_agent.base.machine import Append, Effect, Instant, Notice, Reply, Send, Shutdown
from qallow_agent.base.message import Done, Failure, Message
from qallow_agent.ledger.messages import LogFailed, LogKept
from qallow_agent.runtime.driver import Driver
from qallow_agent.runtime.logbook import Logbook

ASKED = control(1, 1)
AFTER: list[Effect] = [Send(NodeId("b" * 26), Done()), Reply(ASKED, Done())]


class World:
    """Takes what a driver says, over a real logbook."""

    def __init__(self, folder: Path) -> None:
        self.logbook = Logbook(folder)
        self.logbook.open()
        self.said: list[object] = []
        self.heard: list[Message] = []
        self.answers: list[Effect] = []
        parts = dict.fromkeys(("yard", "store", "sources", "mirrors"))
        world: Any = SimpleNamespace(
            **parts,
            post=SimpleNamespace(seal=lambda message, _: message),
            transport=SimpleNamespace(send=lambda *words: bool(self.said.append(words)) or True),
            control=SimpleNamespace(reply=lambda to, message: self.said.append((to, message))),
            logbook=self.logbook,
            lateness=None,
            say=self.said.append,
            clock=lambda: Instant(0.0, 0),
        )
        node: Any = SimpleNamespace(receive=self._receive)
        self.driver = Driver(node, world)

    def _receive(self, sender: str, message: Message, _: Instant) -> list[Effect]:
        assert sender == STORE
        self.heard.append(message)
        answers, self.answers = self.answers, []
        return answers

    def do(self, *effects: Effect) -> None:
        self.driver._do(effects)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "log")
    yield made
    made.driver._alarm.close()
    made.driver._bell.close()
    made.logbook.close()


def test_an_append_is_durable_before_what_follows_is_said(world: World) -> None:
    world.answers = [Notice("head", "signed")]
    world.do(Append(0, (b"one", b"two")), *AFTER)
    assert world.heard == [LogKept(2)]
    assert [type(each) for each in world.said] == [Notice, tuple, tuple]
    assert (world.logbook.files.directory / "tile/entries/000").read_bytes() == (
        b"\x00\x03one\x00\x03two"
    )


@pytest.mark.parametrize("first", [0, 3], ids=["broken disk", "gap"])
def test_what_depends_on_a_failed_append_is_not_said(world: World, first: int) -> None:
    (world.logbook.files.directory / "tile/entries/000").mkdir(parents=True)  # cannot be opened
    world.do(Append(first, (b"one",)), *AFTER, Shutdown("over"))
    [failed] = world.heard
    assert isinstance(failed, LogFailed)
    assert (failed.size, failed.final) == (0, first == 0)
    [answer] = world.said
    assert isinstance(answer, tuple)
    assert answer[0] == ASKED
    assert isinstance(answer[1], Failure)
    assert answer[1].code == StorageError.code
