"""The stage of a scenario: a simulation, and what is printed of it."""

import shlex
from typing import TYPE_CHECKING

from qallow_agent.base.errors import InvariantBroken, UsageError
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.testing.client import VirtualClient
from qallow_agent.testing.record import Told
from qallow_agent.testing.script import Names
from qallow_agent.testing.simulation import Plan, Simulation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qallow_agent.testing.verbs import Verb

QUIET = ("trust.met", "sync.", "lease.")
"""Events that are too many or say too little for a transcript."""

REPEATING = ("wire.dropped", "trust.refusal", "trust.refused", "message.refused")
"""Events that are printed once in ``QUIET_S`` for each node, as an agent's log does."""
QUIET_S: Seconds = 10.0


class Stage:
    """Runs one scenario, command by command.

    Args:
        verbs: The commands it knows, by first word.
    """

    def __init__(self, verbs: "Mapping[str, Verb]") -> None:
        self.plan = Plan(dispatch=DispatchSettings(slice_s=0.2))
        self._verbs = verbs
        self._made: Simulation | None = None
        self._names = Names({})
        self._printed: list[str] = []
        self._said: dict[tuple[str, str, str], Seconds] = {}

    def command(self, line: str) -> list[str]:
        """Carry one command out and return what it prints.

        Raises:
            UsageError: There is no such command, or it is used wrongly.
            InvariantBroken: An expectation does not hold, or a law is broken.
        """
        word, *rest = shlex.split(line)
        verb = self._verbs.get(word)
        if verb is None:
            raise UsageError(f"no command {word!r}", hint=f"one of: {', '.join(self._verbs)}")
        try:
            verb(self, rest)
        except InvariantBroken as error:
            raise InvariantBroken(f"{line}: {error.message}") from error
        except (ValueError, LookupError, AttributeError) as error:
            raise UsageError(f"{line}: {error!r}") from error
        printed, self._printed = self._printed, []
        return printed

    @property
    def simulation(self) -> Simulation:
        """The simulation, made by the first command that needs it."""
        if self._made is None:
            self._made = Simulation(self.plan)
            self._made.record.on_notice = self._heard
            self._made.record.on_news = self._news
            self._names = Names(self._made.boxes)
        return self._made

    def client(self, word: str) -> VirtualClient:
        """Return the client of ``job1``, ``job2`` and so on, in order of submission."""
        return self.simulation.clients[int(word.removeprefix("job")) - 1]

    def members(self, observer: str) -> str:
        """Return what one box believes of the others: ``b alive, c dead``."""
        simulation = self.simulation
        states = {
            name: simulation.laws.believed(observer, name)
            for name in simulation.boxes
            if name != observer
        }
        return ", ".join(
            f"{name} {'unknown' if state is None else state.value}"
            for name, state in states.items()
        )

    def say(self, text: str, *, dated: bool = True) -> None:
        """Print a line."""
        when = f"{self.simulation.now:7.1f}s" if dated else " " * 8
        self._printed.append(f"{when} {self._names.plain(text)}")

    def hush(self) -> None:
        """Forget what was printed since the command began."""
        self._printed.clear()

    def _heard(self, told: Told) -> None:
        notice = told.notice
        if notice.level == "debug" or notice.event.startswith(QUIET):
            return
        if notice.event in REPEATING:
            key = (told.box, notice.event, str(notice.facts.get("node")))
            if told.when_s - self._said.get(key, -QUIET_S) < QUIET_S:
                return
            self._said[key] = told.when_s
        self.say(f"{told.box} {notice.event}{self._names.facts(notice.facts)}")

    def _news(self, client: VirtualClient, text: str) -> None:
        number = self.simulation.clients.index(client) + 1
        self.say(f"job{number} {text}")
