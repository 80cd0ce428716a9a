import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from qallow_agent.runtime.driver import Driver


class Ended(Exception):
    """What a tick raises to end a loop."""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    signal.set_wakeup_fd(-1)
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_second_signal_finds_no_bell_that_is_gone() -> None:
    def tick(_: object) -> None:
        raise Ended

    parts = ("post", "transport", "yard", "control", "store", "logbook", "mirrors", "sources",
             "say", "lateness")  # fmt: skip
    world: Any = SimpleNamespace(**dict.fromkeys(parts), clock=lambda: None)
    node: Any = SimpleNamespace(tick=tick)
    with pytest.raises(Ended):
        Driver(node, world).run()
    assert signal.set_wakeup_fd(-1) == -1
