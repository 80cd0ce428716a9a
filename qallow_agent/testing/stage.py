"""The stage of a scenario: understands its commands and does them to a simulation."""

import shlex
from collections.abc import Callable, Mapping

from qallow_agent.base.errors import InvariantBroken, QallowError, UsageError
from qallow_agent.base.units import Seconds
from qallow_agent.jobs.messages import JobOptions
from qallow_agent.jobs.settings import DispatchSettings
from qallow_agent.mesh.trust.invites import decode_invitation, encode_invitation
from qallow_agent.testing.client import Order, VirtualClient
from qallow_agent.testing.script import Names, Words, fields, numbers, seconds
from qallow_agent.testing.simulation import Plan, Simulation, Told

QUIET = ("trust.met", "sync.", "lease.")
"""Events that are too many or say too little for a transcript."""

REPEATING = ("wire.dropped", "trust.refusal", "trust.refused", "message.refused")
"""Events that are printed once in ``QUIET_S`` for each node, as an agent's log does."""
QUIET_S: Seconds = 10.0

FORMED_S: Seconds = 3.0
"""Long enough for canaries and first adverts."""

Command = Callable[[Words], list[str]]


class Stage:
    """Runs one scenario, command by command."""

    def __init__(self) -> None:
        self._plan = Plan(dispatch=DispatchSettings(slice_s=0.2))
        self._made: Simulation | None = None
        self._names = Names({})
        self._printed: list[str] = []
        self._said: dict[tuple[str, str, str], Seconds] = {}
        self._commands = self._table()

    def command(self, line: str) -> list[str]:
        """Carry one command out and return what it prints.

        Raises:
            UsageError: There is no such command, or it is used wrongly.
            InvariantBroken: An expectation does not hold, or a law is broken.
        """
        word, *rest = shlex.split(line)
        known = self._commands.get(word)
        if known is None:
            raise UsageError(f"no command {word!r}", hint=f"one of: {', '.join(self._commands)}")
        try:
            answer = known(Words(rest))
        except InvariantBroken as error:
            raise InvariantBroken(f"{line}: {error.message}") from error
        except (ValueError, KeyError, IndexError) as error:
            raise UsageError(f"{line}: {error!r}") from error
        printed, self._printed = self._printed, []
        return [*printed, *answer]

    @property
    def simulation(self) -> Simulation:
        """The simulation, made by the first command that needs it."""
        if self._made is None:
            self._made = Simulation(self._plan)
            self._made.on_notice = self._heard
            self._made.on_news = self._news
            self._names = Names(self._made.boxes)
        return self._made

    def _table(self) -> Mapping[str, Command]:
        return {
            "seed": self._seed,
            "weather": self._weather,
            "loss": self._loss,
            "craft": self._craft,
            "nodes": self._nodes,
            "found": self._found,
            "join": self._join,
            "forge": self._forge,
            "run": self._run,
            "settle": self._settle,
            "partition": self._partition,
            "cut": self._cut,
            "heal": self._heal,
            "kill": self._each(lambda name: self.simulation.kill(name)),
            "restart": self._each(lambda name: self.simulation.restart(name)),
            "unplug": self._each(lambda name: self.simulation.plug(name, out=True)),
            "plug": self._each(lambda name: self.simulation.plug(name, out=False)),
            "freeze": self._each(lambda name: self.simulation.freeze(name)),
            "thaw": self._each(lambda name: self.simulation.thaw(name)),
            "leave": self._each(lambda name: self.simulation.leave(name)),
            "stop": self._each(lambda name: self.simulation.stop(name)),
            "revoke": self._revoke,
            "clock": self._clock,
            "disk": self._disk,
            "crash-runner": self._crash_runner,
            "submit": self._submit,
            "vanish": self._each_client(VirtualClient.vanish),
            "cancel": self._each_client(VirtualClient.cancel),
            "expect": self._expect,
            "show": self._show,
        }

    # --- the set-up -------------------------------------------------------------------------------

    def _seed(self, words: Words) -> list[str]:
        self._plan.seed = int(words[0])
        return []

    def _weather(self, words: Words) -> list[str]:
        weather = self._plan.weather if self._made is None else self._made.network.weather
        for key, value in fields(words).items():
            is_time = key.endswith("_s")
            setattr(weather, key, seconds(value) if is_time else float(value))
        return []

    def _loss(self, words: Words) -> list[str]:
        return self._weather(Words([f"loss={words[0]}"]))

    def _craft(self, words: Words) -> list[str]:
        for key, value in fields(words).items():
            if key == "slots":
                self._plan.craft.slots = int(value)
            elif key == "sick":
                self._plan.craft.sick = value == "yes"
            else:
                setattr(self._plan.craft, key, seconds(value))
        return []

    def _nodes(self, words: Words) -> list[str]:
        """``nodes 3``: a mesh of a, b, c that has been up for a while; says nothing of how."""
        self.simulation.mesh([chr(ord("a") + number) for number in range(int(words[0]))])
        self.simulation.settle()
        self.simulation.run(FORMED_S)
        self._printed.clear()
        return [f"{self._stamp()} {' '.join(self.simulation.boxes)} are a mesh"]

    def _found(self, words: Words) -> list[str]:
        self.simulation.found(words[0])
        return []

    def _join(self, words: Words) -> list[str]:
        """``join b via a [roles=worker,submitter]``."""
        roles = tuple(fields(words[3:]).get("roles", "worker,submitter").split(","))
        return self._attempt(lambda: self.simulation.join(words[0], words[2], roles=roles))

    def _forge(self, words: Words) -> list[str]:
        """``forge x via a``: knock with an invite whose secret was guessed."""
        true = decode_invitation(self.simulation.invite(words[2]))
        forged = type(true)(
            true.mesh, true.contact, true.host, true.host_key, bytes(16), true.expires_s
        )
        token = encode_invitation(forged)
        return self._attempt(lambda: self.simulation.join_with(words[0], token))

    def _attempt(self, action: Callable[[], object]) -> list[str]:
        try:
            action()
        except QallowError as error:
            if isinstance(error, InvariantBroken):
                raise
            return [f"{self._stamp()} refused: {error.code}: {error.message}"]
        return []

    # --- time and faults --------------------------------------------------------------------------

    def _run(self, words: Words) -> list[str]:
        self.simulation.run(seconds(words[0]))
        return []

    def _settle(self, words: Words) -> list[str]:
        within_s = seconds(words[0]) if words else 60.0
        self.simulation.settle(within_s)
        return [f"{self._stamp()} settled"]

    def _partition(self, words: Words) -> list[str]:
        """``partition a | b c [loud]``."""
        loud = words[-1] == "loud"
        text = " ".join(words[:-1] if loud else words)
        sides = [side.split() for side in text.split("|")]
        self.simulation.partition(*sides, loud=loud)
        return []

    def _cut(self, words: Words) -> list[str]:
        """``cut a -> b``."""
        self.simulation.cut(words[0], words[2])
        return []

    def _heal(self, _: Words) -> list[str]:
        self.simulation.heal()
        return []

    def _each(self, action: Callable[[str], None]) -> Command:
        def carry_out(words: Words) -> list[str]:
            for name in words:
                action(name)
            return []

        return carry_out

    def _revoke(self, words: Words) -> list[str]:
        """``revoke b by a [reason]``."""
        return self._attempt(lambda: self.simulation.revoke(words[2], words[0]))

    def _clock(self, words: Words) -> list[str]:
        """``clock b +1h``."""
        self.simulation.step_clock(words[0], seconds(words[1]))
        return []

    def _disk(self, words: Words) -> list[str]:
        """``disk b full|well|slow=0.1s``."""
        disk = self.simulation.boxes[words[0]].disk
        disk.full = words[1] == "full"
        disk.slow_s = seconds(fields(words[1:]).get("slow", "0s"))
        self.simulation.laws.disturb()
        return []

    def _crash_runner(self, words: Words) -> list[str]:
        yard = self.simulation.boxes[words[0]].running().yard
        yard.crash(next(iter(yard.runners)))
        return []

    # --- jobs -------------------------------------------------------------------------------------

    def _submit(self, words: Words) -> list[str]:
        """``submit a harmonic points=100 slots=4 deadline=30s poison=3,4 key=K retries=3``."""
        given = fields(words[2:])
        options = JobOptions(
            deadline_s=seconds(given.get("deadline", "0s")),
            start_s=seconds(given.get("start", "60s")),
            task_limit_s=seconds(given.get("task_limit", "0s")),
            retries=int(given.get("retries", "3")),
            idempotency_key=given.get("key", ""),
            device=given.get("device", "any"),
        )
        order = Order(
            kernel=words[1],
            points=int(given.get("points", "100")),
            slots=int(given.get("slots", "4")),
            options=options,
            poison=numbers(given.get("poison", "")),
            hang=numbers(given.get("hang", "")),
            faulty=numbers(given.get("faulty", "")),
        )
        self.simulation.submit(words[0], order)
        return []

    def _each_client(self, action: Callable[[VirtualClient], None]) -> Command:
        def carry_out(words: Words) -> list[str]:
            for word in words:
                action(self._client(word))
            return []

        return carry_out

    def _client(self, word: str) -> VirtualClient:
        return self.simulation.clients[int(word.removeprefix("job")) - 1]

    # --- what is printed --------------------------------------------------------------------------

    def _expect(self, words: Words) -> list[str]:
        """``expect members a: b alive, c dead``; ``expect job1: succeeded done=100 failed=0``."""
        if words[0] == "members":
            observer = words[1].rstrip(":")
            wanted = " ".join(words[2:])
            found = self._members(observer)
            for part in wanted.split(","):
                if part.strip() not in found.split(", "):
                    raise InvariantBroken(f"{observer} believes: {found}")
            return []
        client = self._client(words[0].rstrip(":"))
        state = "running" if client.state is None else client.state.value
        found = f"{state} done={client.done} failed={client.failed}"
        for part in words[1:]:
            if part not in found.split():
                raise InvariantBroken(f"it is {found}")
        return []

    def _show(self, words: Words) -> list[str]:
        """``show members a b``, ``show job1``, ``show drops a``."""
        if words[0] == "members":
            return [f"{'':8} {name}: {self._members(name)}" for name in words[1:]]
        if words[0] == "drops":
            drops = self.simulation.boxes[words[1]].running().transport.drops
            return [f"{'':8} {words[1]} dropped {reason}" for reason in sorted(drops)]
        client = self._client(words[0])
        state = "running" if client.state is None else client.state.value
        where = ", ".join(sorted(client.dispatcher.share))
        counts = f"{client.done} done, {client.failed} failed"
        return [f"{'':8} {words[0]} is {state}: {counts}, on {where or 'nothing'}"]

    def _members(self, observer: str) -> str:
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

    def _heard(self, told: Told) -> None:
        notice = told.notice
        if notice.level == "debug" or notice.event.startswith(QUIET):
            return
        if notice.event in REPEATING:
            key = (told.box, notice.event, str(notice.facts.get("node")))
            if told.when_s - self._said.get(key, -QUIET_S) < QUIET_S:
                return
            self._said[key] = told.when_s
        facts = self._names.facts(notice.facts)
        self._printed.append(f"{self._stamp()} {told.box} {notice.event}{facts}")

    def _news(self, client: VirtualClient, text: str) -> None:
        number = self.simulation.clients.index(client) + 1
        self._printed.append(f"{self._stamp()} job{number} {self._names.plain(text)}")

    def _stamp(self) -> str:
        return f"{self.simulation.now:7.1f}s"
