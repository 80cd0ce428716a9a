import select
import threading
from collections.abc import Callable, Iterator

import pytest

from qallow_agent.base.machine import Instant
from qallow_agent.mesh.io.dns_seeds import Resolver, look_up


class Names:
    """A resolver over a table, with a clock that tests set."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[str, ...]] = {"seed": ("10.0.0.1",)}
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.now = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.resolver = Resolver(5.0, 30.0, lambda: Instant(self.now, 0), self._look_up)
        self.resolver.on_answer = self.answered.append

    def _look_up(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        assert self.gate.wait(10)
        return self.table.get(host, ())

    def wait(self, happened: Callable[[], object]) -> None:
        while not happened():
            assert select.select([self.resolver], [], [], 10)[0]
            self.resolver.drain([])


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.gate.set()
    made.resolver.close()


def test_a_literal_address_is_its_own_answer(names: Names) -> None:
    assert names.resolver.hosts("10.0.0.9") == ("10.0.0.9",)
    assert names.resolver.hosts("::1") == ("::1",)
    assert not names.asked


def test_a_name_is_known_once_its_lookup_ends(names: Names) -> None:
    assert names.resolver.hosts("seed") == ()
    names.wait(lambda: names.answered)
    assert names.resolver.hosts("seed") == ("10.0.0.1",)
    assert names.asked == ["seed"]


def test_an_old_answer_serves_while_it_is_refreshed(names: Names) -> None:
    names.resolver.hosts("seed")
    names.wait(lambda: names.answered)
    names.now = 31.0
    names.table["seed"] = ("10.0.0.2",)
    assert names.resolver.hosts("seed") == ("10.0.0.1",)
    names.wait(lambda: len(names.answered) == 2)
    assert names.resolver.hosts("seed") == ("10.0.0.2",)


def test_a_failed_refresh_keeps_the_last_good_answer(names: Names) -> None:
    names.resolver.hosts("seed")
    names.wait(lambda: names.answered)
    names.now = 31.0
    del names.table["seed"]
    names.resolver.hosts("seed")
    names.wait(lambda: not names.resolver._running)
    assert names.resolver.hosts("seed") == ("10.0.0.1",)


def test_an_answer_past_its_deadline_is_ignored(names: Names) -> None:
    names.gate.clear()
    names.resolver.hosts("seed")
    names.now = 6.0
    names.gate.set()
    names.wait(lambda: not names.resolver._running)
    assert not names.answered


def test_hung_lookups_do_not_stop_others(names: Names) -> None:
    names.gate.clear()
    for number in range(10):
        names.resolver.hosts(f"hung{number}")
    assert len(names.resolver._running) == 4
    names.now = 6.0
    names.gate.set()
    names.resolver.hosts("seed")
    names.wait(lambda: "seed" in names.answered)


def test_names_are_forgotten_beyond_a_limit(names: Names) -> None:
    for number in range(300):
        names.resolver.hosts(f"name{number}")
    assert len(names.resolver._names) == 256


def test_an_answer_after_closing_harms_nobody() -> None:
    names = Names()
    names.gate.clear()
    names.resolver.hosts("seed")
    names.resolver.close()
    names.gate.set()
    for thread in threading.enumerate():
        if thread.name == "resolve seed":
            thread.join(10)


def test_the_system_resolver_knows_localhost_and_refuses_nonsense() -> None:
    assert "127.0.0.1" in look_up("localhost")
    assert look_up("name.invalid") == ()
    assert look_up("x" * 300) == ()
    assert look_up("") == ()
